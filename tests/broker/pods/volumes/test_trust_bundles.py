"""Certificates of ClusterTrustBundles."""

from typing import Any

import pytest

from broker.kubernetes.client import Client
from broker.pods.env import Unreadable
from broker.pods.volumes.trust_bundles import TrustBundleError, find_collection, trust_anchors
from tests.broker.apiserver import ApiServer
from tests.broker.certificates import Authority

Object = dict[str, Any]


@pytest.fixture(scope="module")
def bundles() -> Object:
    one, two = Authority().pem, Authority().pem
    named = {
        "metadata": {"name": "mine", "resourceVersion": "1"},
        "spec": {"trustBundle": f"a comment\n{one}{one}"},
    }
    signed = [
        {
            "metadata": {"name": f"example.com:{name}", "resourceVersion": "2", "labels": {"live": live}},
            "spec": {"signerName": "example.com/signer", "trustBundle": pem},
        }
        for name, live, pem in (("a", "yes", one), ("b", "no", two))
    ]
    return {"items": [named, *signed]}


def certificates(found: tuple[list[Object], str]) -> int:
    return found[1].count("BEGIN CERTIFICATE")


def test_certificates_of_a_bundle_are_unique(bundles: Object) -> None:
    found = trust_anchors({"name": "mine"}, bundles)
    assert certificates(found) == 1
    assert found[1].startswith("-----BEGIN")


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        pytest.param({}, 2, id="empty: all"),
        pytest.param({"matchLabels": {"live": "yes"}}, 1, id="labels"),
        pytest.param({"matchExpressions": [{"key": "live", "operator": "Exists"}]}, 2, id="expression"),
    ],
)
def test_a_signer_has_the_selected_bundles(bundles: Object, selector: Object, expected: int) -> None:
    found = trust_anchors({"signerName": "example.com/signer", "labelSelector": selector}, bundles)
    assert certificates(found) == expected


@pytest.mark.parametrize(
    ("projection", "message"),
    [
        ({"name": "none"}, 'while getting ClusterTrustBundle: clustertrustbundle.* "none" not found'),
        ({"signerName": "example.com/signer"}, "matched zero ClusterTrustBundles"),
    ],
)
def test_a_mandatory_bundle_must_exist(bundles: Object, projection: Object, message: str) -> None:
    with pytest.raises(TrustBundleError, match=message):
        trust_anchors(projection, bundles)
    assert trust_anchors({**projection, "optional": True}, bundles) == ([], "")


def test_unreadable_bundles_are_a_problem() -> None:
    with pytest.raises(TrustBundleError, match="clustertrustbundles cannot be read: Forbidden"):
        trust_anchors({"name": "mine", "optional": True}, Unreadable("Forbidden"))


async def test_a_cluster_may_have_no_bundles(api: ApiServer, client: Client) -> None:
    assert await find_collection(client) is None
    api.has_trust_bundles = True
    found = await find_collection(client)
    assert found
    assert found.kind == "/apis/certificates.k8s.io/v1beta1/clustertrustbundles"
