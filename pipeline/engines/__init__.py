"""Beside a plain run: shards and what completes them, Spark, versions of tables."""
