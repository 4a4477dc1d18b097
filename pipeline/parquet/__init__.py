"""Reads Parquet files of any origin. Checks that footers are consistent and that pages do not unpack to too much, reads
INT96, and limits the size of batches. Independent of partitions, models and outputs."""
