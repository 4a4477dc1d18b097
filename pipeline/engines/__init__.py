"""Beside a plain run: shards and what completes them, Spark."""
