"""Benchmarks of freightrisk's kernels and the best alternatives, in one run on the same data."""
