"""What is written on disk, one pydantic model per kind of file. Knows nothing of torch or Arrow."""
