"""Converts checked columns to the model's input tensors. One class per kind of input; `kinds.py` lists them."""
