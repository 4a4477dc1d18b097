"""The networks and the data of the demo and the benchmarks."""
