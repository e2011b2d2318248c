"""Virtual Kubelet: Web: a Kubernetes node whose pods run at any provider of the HTTP contract, in any language."""

from vkweb import __version__ as __version__
