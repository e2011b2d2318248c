"""Check for `helm test` that nodes are Ready; the arguments are their names."""

import asyncio
import os
import sys

from broker.kubernetes.client import Client
from broker.kubernetes.config import load
from broker.kubernetes.errors import ApiError

ATTEMPTS = int(os.environ.get("ATTEMPTS", "60"))
"""Number of attempts, one per second."""


async def readiness(client: Client, name: str) -> str:
    """Return `Ready`, or the reason why a node is not ready."""
    try:
        node = await client.get(f"/api/v1/nodes/{name}")
    except ApiError as exc:
        return str(exc)
    for condition in node["status"].get("conditions", []):
        if condition["type"] == "Ready":
            return "Ready" if condition["status"] == "True" else f"{condition['reason']}: {condition['message']}"
    return "has no condition Ready"


async def check(names: list[str]) -> int:
    """Wait until every node is Ready; return the exit status."""
    client = Client(load(os.environ.get("KUBECONFIG"), os.environ))
    try:
        for attempt in range(ATTEMPTS):
            found = {name: await readiness(client, name) for name in names}
            if set(found.values()) <= {"Ready"} or attempt == ATTEMPTS - 1:
                break
            await asyncio.sleep(1)
    finally:
        await client.close()
    for name, state in found.items():
        print(f"node {name}: {state}")  # noqa: T201
    return 0 if set(found.values()) <= {"Ready"} else 1


sys.exit(asyncio.run(check(sys.argv[1:])))
