"""The synthetic runtime: pods that only seem to run."""
