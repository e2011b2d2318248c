"""A fake API server that behaves as a real one does where it matters to a node."""

from tests.broker.apiserver.server import ApiServer as ApiServer
