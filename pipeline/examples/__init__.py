"""TODO room examples."""
