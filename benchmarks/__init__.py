"""How long the cross-similarity operator takes, and how much memory, beside its peers: see docs/benchmarks.md."""
