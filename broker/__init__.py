"""Virtual Kubelet: Web: a Kubernetes node for any provider of the contract, in any language."""

__version__ = "0.1.0"
