"""Benchmarks: of providers, and of nodes in a cluster."""
