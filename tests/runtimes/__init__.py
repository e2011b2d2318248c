"""Tests of what does the work of a node."""
