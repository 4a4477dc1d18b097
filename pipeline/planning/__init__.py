"""TODO room planning."""
