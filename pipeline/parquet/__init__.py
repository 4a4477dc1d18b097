"""Parquet files of any origin, opened in one place: footers that are held against themselves, pages that claim too
much, INT96, and batches of bounded size. Independent of partitions, models and outputs."""
