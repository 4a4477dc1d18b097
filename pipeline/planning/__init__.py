"""What is there, what is done, what remains. Joins inputs, bundle and outputs; does not import torch."""
