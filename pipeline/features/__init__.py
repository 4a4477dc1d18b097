"""From checked columns to the model's input tensors. Knows nothing of files or models."""
