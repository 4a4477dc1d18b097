"""TODO room graph."""
