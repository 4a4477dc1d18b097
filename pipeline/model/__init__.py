"""Loading models, and their forward passes. Independent of input files, columns and labels."""
