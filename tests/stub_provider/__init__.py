"""Stub provider of the contract for the tests of the broker and of the conformance kit."""

from tests.stub_provider.logs import LogProvider
from tests.stub_provider.provider import StubProvider, providing
from tests.stub_provider.server import Reply, Request, json_reply
from tests.stub_provider.statuses import NOW, Object, ended, running
from tests.stub_provider.ways import WAYS, Ways

__all__ = [
    "NOW",
    "WAYS",
    "LogProvider",
    "Object",
    "Reply",
    "Request",
    "StubProvider",
    "Ways",
    "ended",
    "json_reply",
    "providing",
    "running",
]
