"""Virtual Kubelet: Web: a Kubernetes node for any provider of the contract, in any language."""

from vkweb import __version__ as __version__
