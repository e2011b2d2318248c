"""The CA of those who use the kubelet API with a certificate, the API server first of all."""

import asyncio
from collections.abc import Callable

import structlog

from broker.errors import BrokerError
from broker.kubernetes.client import Client

log = structlog.get_logger()


class ClusterAuthority:
    """The CA of the cluster's clients, as the API server publishes it for servers beside it.

    It is in the ConfigMap `extension-apiserver-authentication`; every identity with the Role
    `extension-apiserver-authentication-reader` in `kube-system` may read it.

    Attributes:
        pem: the CA; empty as long as it is not known, and where it may not be read.
    """

    PATH = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
    INTERVAL = 60.0

    def __init__(self, client: Client) -> None:
        self._client = client
        self._problem = ""
        self.pem = b""

    async def watch(self, changed: Callable[[], None]) -> None:
        """Read it again and again, for ever, calling `changed` each time."""
        while True:
            problem = ""
            try:
                found = await self._client.get(self.PATH)
                self.pem = found.get("data", {}).get("client-ca-file", "").encode()
                changed()
            except BrokerError as exc:
                problem = str(exc)
            if problem and problem != self._problem:
                log.warning(
                    "cannot read the CA of clients; those with a certificate may be refused", error=problem
                )
            self._problem = problem
            await asyncio.sleep(self.INTERVAL)
