"""Virtual Kubelet: Web: a Kubernetes node whose pods run at any provider of the HTTP contract, in any language."""

__version__ = "0.1.0"
