"""A client of exec, attach and port-forward over WebSocket."""

import aiohttp

from tests.broker.kubelet.conftest import Kubelet

Ws = aiohttp.ClientWebSocketResponse
V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
EXEC = "/exec/shop/web/app"
CAT = {"command": "cat", "input": "1", "output": "1"}


class Client:
    """A WebSocket client of a kubelet API."""

    def __init__(self, kubelet: Kubelet) -> None:
        self._kubelet = kubelet

    async def connect(self, path: str = EXEC, *, protocols: tuple[str, ...] = (V5,), **query: str) -> Ws:
        """Open a session; by default `cat` with standard input and output."""
        url = self._kubelet.url + path
        return await self._kubelet.session.ws_connect(url, params=query or CAT, protocols=protocols)

    async def refusal(self, path: str = EXEC, **query: str) -> tuple[int, str]:
        """Ask for a session that is refused; return code and message of the `Status`."""
        headers = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        }
        url = self._kubelet.url + path
        async with self._kubelet.session.get(url, params=query or CAT, headers=headers) as response:
            status = await response.json()
            assert status["kind"] == "Status"
            assert status["status"] == "Failure"
            assert status["code"] == response.status
            return response.status, status["message"]


async def everything(ws: Ws) -> list[bytes]:
    """Return all messages up to the close frame."""
    return [message.data async for message in ws]
