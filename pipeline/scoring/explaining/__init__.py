"""TODO room explaining."""
