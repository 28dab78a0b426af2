"""Benchmarks of time and memory against other implementations and libraries: see docs/benchmarks.md."""
