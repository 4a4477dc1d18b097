"""Networks and data for the demo and the benchmarks."""
