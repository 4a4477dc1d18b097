"""Finding partitions, reading them in bounded memory, checking their rows. Knows nothing of models."""
