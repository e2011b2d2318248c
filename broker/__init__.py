"""Virtual Kubelet: Web: a Kubernetes node for any provider of the contract, in any language."""
