"""Specs that users write: inputs, tasks, an ensemble. Python and pack.toml share the same classes."""
