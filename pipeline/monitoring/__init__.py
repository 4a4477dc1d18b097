"""What finished outputs say: their rejects, their history, and how two of them differ. Independent of models."""
