"""The package that evaluates expressions."""

#: Results depend on its version.
PACKAGES = ("duckdb",)
