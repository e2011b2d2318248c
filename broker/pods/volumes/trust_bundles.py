"""ClusterTrustBundles: certificates of authorities that a volume may contain, by name or by signer.

Nodes watch all bundles of the cluster, which are few, as soon as one pod refers to any.

Source: `pkg/kubelet/clustertrustbundle/clustertrustbundle_manager.go`.
"""

import re
import ssl

from broker.kubernetes.client import Client
from broker.kubernetes.errors import NotFound
from broker.pods.env import Unreadable
from broker.pods.node_affinity import matches_requirement
from broker.pods.object_cache import Found, ObjectId
from broker.types import Object

_GROUP = "/apis/certificates.k8s.io"
_VERSIONS = ("v1", "v1beta1", "v1alpha1")
_RESOURCE = "clustertrustbundles"
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s.+?-----END CERTIFICATE-----", re.DOTALL)


class TrustBundleError(Exception):
    """There are no certificates for a volume; the message is that of a kubelet."""


async def find_collection(client: Client) -> ObjectId | None:
    """Return the newest version of the collection of bundles that the cluster has; None for none.

    Raises:
        ApiError: it is not known.
    """
    for version in _VERSIONS:
        try:
            served = await client.get(f"{_GROUP}/{version}")
        except NotFound:
            continue
        if any(resource["name"] == _RESOURCE for resource in served.get("resources") or ()):
            return ObjectId(f"{_GROUP}/{version}/{_RESOURCE}")
    return None


def trust_anchors(projection: Object, found: Found) -> tuple[list[Object], str]:
    """Return the bundles that a source selects, and their certificates in PEM, each once.

    Args:
        projection: a `clusterTrustBundle` source.
        found: the bundles of the cluster.

    Raises:
        TrustBundleError: there are none, and the source is not optional.
    """
    if not isinstance(found, dict):
        why = found.why if isinstance(found, Unreadable) else "unknown"
        raise TrustBundleError(f"clustertrustbundles cannot be read: {why}")
    if name := projection.get("name"):
        selected = [bundle for bundle in found["items"] if bundle["metadata"]["name"] == name]
        missing = f'while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io "{name}" not found'
    else:
        selected = [bundle for bundle in found["items"] if _is_selected(bundle, projection)]
        missing = "combination of signerName and labelSelector matched zero ClusterTrustBundles"
    if not selected and not projection.get("optional"):
        raise TrustBundleError(missing)
    selected.sort(key=lambda bundle: str(bundle["metadata"]["name"]))
    certificates = [pem for bundle in selected for pem in _CERTIFICATE.findall(bundle["spec"]["trustBundle"])]
    unique = dict.fromkeys(ssl.PEM_cert_to_DER_cert(pem) for pem in certificates)
    return selected, "".join(ssl.DER_cert_to_PEM_cert(der) for der in unique)


def _is_selected(bundle: Object, projection: Object) -> bool:
    """Return whether a bundle has a source's signer and labels; without a selector none has, as at a kubelet."""
    selector, labels = projection.get("labelSelector"), bundle["metadata"].get("labels") or {}
    return (
        selector is not None
        and bundle["spec"].get("signerName") == projection.get("signerName")
        and all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())
        and all(matches_requirement(each, labels) for each in selector.get("matchExpressions") or ())
    )
