"""Training-side: a model and what it needs become a bundle."""
