"""Writes rows to hidden part files, then publishes them. Independent of models."""
