"""The bundle on disk: manifest, digests, golden rows, and the columns of every head. Does not import torch."""
