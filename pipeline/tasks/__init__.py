"""Raw output → columns, one class and file per task; `tasks.py` lists them. Planning uses them without torch."""
