"""The bundle, the model as data, and the forward pass. Knows nothing of input files, columns or labels."""
