"""The Node object: its registration, its lease and its status."""
