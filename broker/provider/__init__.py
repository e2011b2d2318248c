"""The provider: a server of the contract, in any language."""

from broker.provider.client import ProviderClient as ProviderClient
