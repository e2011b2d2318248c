"""The CA that signs client certificates, such as the API server's, for requests to the kubelet API."""

import asyncio
from collections.abc import Callable

import structlog

from broker.errors import BrokerError
from broker.kubernetes.client import Client

log = structlog.get_logger()


class ClientCA:
    """The client CA of the cluster, as the API server publishes it for extension API servers.

    The ConfigMap `extension-apiserver-authentication` is readable with the Role
    `extension-apiserver-authentication-reader` in `kube-system`.

    Attributes:
        pem: the CA in PEM; empty before the first read, and where it may not be read.
    """

    PATH = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
    INTERVAL = 60.0

    def __init__(self, client: Client) -> None:
        self._client = client
        self._problem = ""
        self.pem = b""

    async def watch(self, changed: Callable[[], None]) -> None:
        """Read the CA periodically, until cancelled; call `changed` after each read."""
        while True:
            problem = ""
            try:
                found = await self._client.get(self.PATH)
                self.pem = found.get("data", {}).get("client-ca-file", "").encode()
                changed()
            except BrokerError as exc:
                problem = str(exc)
            if problem and problem != self._problem:
                log.warning("client CA not read; clients with a certificate may be refused", error=problem)
            self._problem = problem
            await asyncio.sleep(self.INTERVAL)
