"""Cells of one column → values that can be scored, and the rows that cannot with their reasons."""
