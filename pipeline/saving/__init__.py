"""Saves a trained model and its preprocessing as a bundle."""
