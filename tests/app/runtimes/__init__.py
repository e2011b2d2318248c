"""Tests of the interface of runtimes and of the two runtimes."""
