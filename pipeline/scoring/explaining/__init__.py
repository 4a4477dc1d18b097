"""Attributions: which rows, against which baseline, by which method."""
