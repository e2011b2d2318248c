"""The pods of this node: what Kubernetes wants, what the provider has, and how the one becomes the other."""
