"""TODO room evaluation."""
