"""The kubelet API: logs, pods, stats, metrics and health, for the API server and monitoring."""
