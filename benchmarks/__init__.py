"""Compares artifactstore with its peers on this machine, as ratios; `python -m benchmarks --help`."""
