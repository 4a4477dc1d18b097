"""Converts the cells of one column to values, and collects the rows that cannot be scored with the reasons."""
