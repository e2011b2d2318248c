"""Simulate pods: their statuses and logs, without running anything. See `docs/synthetic.md`."""
