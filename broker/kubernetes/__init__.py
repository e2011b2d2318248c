"""The Kubernetes API: where it is, a client of it, a watch on it. Nothing here knows a node or a pod."""
