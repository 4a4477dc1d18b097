"""Specs that people write: inputs, tasks, an ensemble. The same classes for Python and for pack.toml."""
