"""What subscribers of a run write for other tools: metrics and traces. Independent of models."""
