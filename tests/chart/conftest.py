"""Fixtures of the broker's tests: a cluster and a provider."""

from tests.broker.conftest import api, authority, cluster, database_kind, provider, provider_url

__all__ = ["api", "authority", "cluster", "database_kind", "provider", "provider_url"]
