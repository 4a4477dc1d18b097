"""Runs one job from start to end: readers, lanes, the publisher, the ledger and its manifest."""
