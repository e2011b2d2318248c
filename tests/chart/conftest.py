"""A cluster and a provider, for what the chart says about them."""

from tests.broker.conftest import api, authority, cluster, database_kind, provider, provider_url

__all__ = ["api", "authority", "cluster", "database_kind", "provider", "provider_url"]
