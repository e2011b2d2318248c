"""Tokens of service accounts: the subresource `serviceaccounts/token`.

Compared with Kubernetes 1.36. Source: pkg/registry/core/serviceaccount/storage/token.go,
pkg/apis/authentication/validation.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from tests.broker.apiserver.errors import bad_request, conflict, invalid, not_found
from tests.broker.apiserver.store import Store

Object = dict[str, Any]
_SHORTEST, _LONGEST = 600, 1 << 32


def create_token(store: Store, namespace: str, name: str, request: Object) -> Object:
    """Return the answer to a TokenRequest; the service account `default` exists in every namespace.

    Raises:
        Refusal: 404 without the service account or the pod; 409 for another pod; 422.
    """
    if name != "default":
        store.get("serviceaccounts", name, namespace)
    spec = {"audiences": [], "expirationSeconds": 3600, **request["spec"]}
    seconds = spec["expirationSeconds"]
    if not _SHORTEST <= seconds <= _LONGEST:
        raise invalid(
            f"spec.expirationSeconds: Invalid value: {seconds}: may not specify a duration of that length"
        )
    if bound := spec.get("boundObjectRef"):
        if bound["kind"] != "Pod":
            raise bad_request(f"cannot bind token to object of type {bound['kind']}")
        pod = store.find("pods", bound["name"], namespace)
        if pod is None:
            raise not_found("pods", bound["name"])
        if bound.get("uid") not in (None, pod["metadata"]["uid"]):
            raise conflict(
                f"the UID in the bound object reference ({bound['uid']}) does not match the UID in record"
            )
        if pod["spec"]["serviceAccountName"] != name:
            message = (
                f'cannot bind token for serviceaccount "{name}" to pod running with different serviceaccount name.'
            )
            raise bad_request(message)
    expires = datetime.now(UTC) + timedelta(seconds=seconds)
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {**spec, "audiences": spec["audiences"] or ["https://kubernetes.default.svc"]},
        "status": {"token": f"token-{uuid4()}", "expirationTimestamp": expires.strftime("%Y-%m-%dT%H:%M:%SZ")},
    }
