"""Parts of an output as versions of a table: Delta Lake and Iceberg."""
