"""TODO room stages."""
