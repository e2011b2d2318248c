"""The pods of this node: the pods in Kubernetes, the pods at the provider, and their reconciliation."""
