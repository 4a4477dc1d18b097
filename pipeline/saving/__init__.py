"""TODO room saving."""
