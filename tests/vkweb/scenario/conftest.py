"""A cluster for scenarios, the fake API server and its client, and an SQLite database."""

from tests.broker.conftest import api, authority, client, cluster, database_kind

__all__ = ["api", "authority", "client", "cluster", "database_kind"]
