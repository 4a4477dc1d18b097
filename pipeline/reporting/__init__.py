"""What is written about a run for people and other tools: the report, metrics and traces. Independent of models."""
