"""Tokens of service accounts for the volumes of pods, by TokenRequest.

A token is bound to its pod: the API server refuses it as soon as the pod is deleted. It is renewed after 80 % of
its lifetime, at the latest after 24 hours, and up to ten seconds earlier, so that the tokens of many pods are not
renewed at the same moment.

Source: `requiresRefresh` in `pkg/kubelet/token/token_manager.go`, and `collectData` in
`pkg/volume/projected/projected.go`.
"""

from datetime import datetime, timedelta
from typing import NamedTuple
from urllib.parse import quote

from broker.dependencies import Dependencies
from broker.types import Object

_DEFAULT_SECONDS = 3600
_LONGEST_LIFETIME = timedelta(hours=24)
_JITTER = 10
"""Upper limit in seconds, exclusive."""


class TokenSpec(NamedTuple):
    """A token to request; sources with the same one share a token, as at a kubelet.

    Attributes:
        audience: intended audience; empty for the API server.
        seconds: lifetime of the token.
    """

    audience: str
    seconds: int


class Token(NamedTuple):
    """A token.

    Attributes:
        value: the token itself, which is secret.
        version: the time at which it was requested, in seconds since 1970.
        renew_at: time at which it is to be replaced.
    """

    value: str
    version: str
    renew_at: datetime


def token_spec(projection: Object) -> TokenSpec:
    """Return the token of a `serviceAccountToken` source."""
    return TokenSpec(
        projection.get("audience") or "", int(projection.get("expirationSeconds") or _DEFAULT_SECONDS)
    )


async def request_token(pod: Object, spec: TokenSpec, dependencies: Dependencies) -> Token:
    """Request a token for the service account of a pod.

    Raises:
        ApiError: there is no such service account, or it is not permitted, or the API server is unavailable.
    """
    metadata, client, now = pod["metadata"], dependencies.client, dependencies.clock()
    account = pod["spec"].get("serviceAccountName") or "default"
    answer = await client.create(
        f"/api/v1/namespaces/{quote(metadata['namespace'])}/serviceaccounts/{quote(account, safe='')}/token",
        {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [spec.audience] if spec.audience else [],
                "expirationSeconds": spec.seconds,
                "boundObjectRef": {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                },
            },
        },
    )
    lifetime = timedelta(seconds=int(answer["spec"].get("expirationSeconds") or spec.seconds))
    jitter = timedelta(seconds=dependencies.random.randrange(_JITTER))
    renew_at = now + min(lifetime * 0.8, _LONGEST_LIFETIME) - jitter
    return Token(answer["status"]["token"], str(int(now.timestamp())), renew_at)
