"""Plans a run: what exists, and what remains to be scored. Does not import torch."""
