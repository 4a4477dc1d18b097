"""Raw output → columns, one file per task. Knows nothing of devices or files."""
