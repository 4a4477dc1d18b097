"""Rows in part files that nobody can see yet, then published. Knows nothing of models."""
