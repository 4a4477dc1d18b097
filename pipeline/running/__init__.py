"""Runs one job from start to end: flows, writers, the publisher, the ledger and its manifest."""
