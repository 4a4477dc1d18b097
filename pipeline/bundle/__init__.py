"""TODO room bundle."""
