"""The kubelet API: what the API server, kubectl and monitors ask of a node."""
