"""From checked columns to the model's input tensors, one class per kind of input; `kinds.py` lists them."""
