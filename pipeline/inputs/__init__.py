"""Finds partitions, reads them in bounded memory, and checks their rows. Independent of models."""
