"""What is written on disk, one pydantic model per kind of file. Independent of torch and Arrow."""
