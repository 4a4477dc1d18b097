"""Expressions: SQL over the raw columns of a row, judged by its parsed tree and evaluated by DuckDB."""
