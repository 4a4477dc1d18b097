"""TODO room running."""
