"""A fake API server that behaves as a real one does for the requests of a node."""

from tests.broker.apiserver.server import ApiServer as ApiServer
