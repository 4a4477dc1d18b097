"""Converts raw outputs to columns. One class and file per task; `tasks.py` lists them. Planning uses them without
torch."""
