"""What the rows of a run look like, and whether they still look like the training data. Does not import torch."""
