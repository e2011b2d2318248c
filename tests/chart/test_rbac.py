"""The permissions of the broker are those that it uses, and no others.

A node runs a scenario in which its code makes every request to Kubernetes at least once. The requests at the API
server are compared with the rules that the chart binds to the broker's service account.
"""

import ast
import re
import ssl
import sys
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import aiohttp
import pytest

from broker.kubernetes.client import Client
from broker.kubernetes.config import ClusterConfig
from broker.runner import Broker
from tests.broker.apiserver import ApiServer
from tests.broker.apiserver.server import Request
from tests.broker.nodes import running_node, settings_of_a_node
from tests.chart.chart import Object, Rendered, render
from tests.server import ROOT
from tests.stub_provider import Ways, providing

VERBS = ("get", "get_bytes", "create", "replace", "patch", "delete", "stream")
"""The methods of the client that make requests."""
NODE = "node"
_DISCOVERY = re.compile(r"/apis/[^/]+/[^/]+")
"""Paths that Kubernetes lets every service account read."""


class Access(NamedTuple):
    """An access that is requested or allowed; `name` is empty for a rule or a request without a name."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str


class Call(NamedTuple):
    """A call of a method of the client in a module; two with the same text make the same request."""

    file: str
    text: str


def calls_in_the_code() -> dict[Call, list[range]]:
    """Return every call of the client, with the lines of each place that has it."""
    found: dict[Call, list[range]] = {}
    for path in sorted((ROOT / "broker").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in VERBS:
                owner = ast.unparse(node.func.value)
                if owner in ("client", "self._client") and path.name != "client.py":
                    lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
                    found.setdefault(Call(str(path), ast.unparse(node)), []).append(lines)
    return found


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> set[Call]:
    """The calls that a test makes."""
    known = calls_in_the_code()
    reached: set[Call] = set()

    def watch(name: str) -> None:
        original = getattr(Client, name)

        def call(self: Client, *args: Any, **kwargs: Any) -> Any:
            caller = sys._getframe(1)
            reached.update(
                each
                for each, places in known.items()
                if each.file == caller.f_code.co_filename and any(caller.f_lineno in lines for lines in places)
            )
            return original(self, *args, **kwargs)

        monkeypatch.setattr(Client, name, call)

    for verb in VERBS:
        watch(verb)
    return reached


def asked_for(requests: Iterable[Request]) -> set[Access]:
    """Return the accesses that RBAC checks for these requests."""
    return {_access(request) for request in requests if not _DISCOVERY.fullmatch(request.path)}


def _access(request: Request) -> Access:
    match = re.fullmatch(
        r"/(?:api|apis/(?P<group>[^/]+))/v1(?:/namespaces/(?P<namespace>[^/]+))?"
        r"/(?P<resource>[^/]+)(?:/(?P<name>[^/]+)(?P<subresource>/[^/]+)?)?",
        request.path,
    )
    assert match, request.path
    verb = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get"}[request.method]
    name = match["name"] or ""
    if verb == "get" and not name:
        verb = "watch" if request.query.get("watch") else "list"
        # A list with a field selector on metadata.name is a list of that name to RBAC.
        name = request.query.get("fieldSelector", "").partition("metadata.name=")[2]
    return Access(
        verb,
        match["group"] or "",
        match["resource"] + (match["subresource"] or ""),
        match["namespace"] or "",
        name,
    )


def allowed(rendered: Rendered) -> Iterator[Access]:
    """Yield the accesses that the roles of the broker's service account allow."""
    subject = {
        "kind": "ServiceAccount",
        "name": rendered.pod["serviceAccountName"],
        "namespace": rendered.one("StatefulSet")["metadata"]["namespace"],
    }
    for binding in [*rendered.all("ClusterRoleBinding"), *rendered.all("RoleBinding")]:
        assert binding["subjects"] == [subject]
        namespace = binding["metadata"].get("namespace")
        role = rendered.one(binding["roleRef"]["kind"], namespace)
        assert role["metadata"]["name"] == binding["roleRef"]["name"]
        for rule in role["rules"]:
            yield from _granted(rule, namespace or "")


def _granted(rule: Object, namespace: str) -> Iterator[Access]:
    for verb in rule["verbs"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames", [""]):
                    yield Access(verb, group, resource, namespace, name)


def uncovered(accesses: Iterable[Access], rules: Iterable[Access]) -> set[Access]:
    """Return the accesses that no rule allows."""
    return {access for access in accesses if not any(covers(rule, access) for rule in rules)}


def unused(rules: Iterable[Access], accesses: Iterable[Access]) -> set[Access]:
    """Return the rules that allow none of the accesses."""
    return {rule for rule in rules if not any(covers(rule, access) for access in accesses)}


def covers(rule: Access, access: Access) -> bool:
    """Return whether a rule allows an access."""
    return rule[:3] == access[:3] and rule.namespace in ("", access.namespace) and rule.name in ("", access.name)


async def run_the_scenario(api: ApiServer, cluster: ClusterConfig, provider_url: str) -> None:
    """Run a node twice, the first time with a pod that uses every kind of source."""
    api.store.create("configmaps", {"metadata": {"name": "settings"}, "data": {"A": "1"}}, "shop")
    api.store.create("secrets", {"metadata": {"name": "password"}, "data": {"B": "Mg=="}}, "shop")
    claim = {"metadata": {"name": "disk"}, "spec": {"volumeName": "pv"}, "status": {"phase": "Bound"}}
    api.store.create("persistentvolumeclaims", claim, "shop")
    async with running_node(settings_of_a_node(provider_url), cluster) as node:
        await api.until(lambda: is_ready(api.store.find("nodes", NODE)))
        await run_pods_with_volumes(api)
        api.store.create("pods", a_pod(wants="nothing-there"), "shop")
        await api.until(
            lambda: api.requests_to("PATCH", "/events/")
        )  # the event is repeated while the ConfigMap is missing
        api.store.delete("pods", "web", "shop", {"gracePeriodSeconds": 0})
        api.store.create("pods", a_pod(wants="settings"), "shop")
        await api.until(lambda: is_ready(api.store.find("pods", "web", "shop")))
        api.store.create(
            "pods", {**a_pod(wants="settings", nodeSelector={"zone": "z"}), "metadata": {"name": "other"}}, "shop"
        )
        await api.until(lambda: api.store.get("pods", "other", "shop")["status"]["phase"] == "Failed")
        await ask_for_metrics(node)
        api.store.delete("pods", "web", "shop", None)
        await api.until(lambda: api.store.find("pods", "web", "shop") is None)
    renewals = len(api.requests_to("PUT", "/leases/"))
    async with running_node(settings_of_a_node(provider_url, labels={"zone": "a"}), cluster):
        await api.until(lambda: len(api.requests_to("PUT", "/leases/")) > renewals + 3)  # each one late


async def run_a_fleet(api: ApiServer, cluster: ClusterConfig, provider_url: str) -> None:
    """Run two nodes of a ConfigMap; drain and remove one with a pod, and adopt another."""

    def fleet(count: int) -> Object:
        pools = f"pools: [{{name: a, count: {count}, drain: true}}]"
        adopt = "adopt: {theirs: 'yes'}" if count == 1 else ""
        return {"metadata": {"name": "fleet", "namespace": "shop"}, "data": {"fleet.yaml": f"{pools}\n{adopt}"}}

    theirs = {"metadata": {"name": "theirs", "labels": {"theirs": "yes"}}, "spec": {}}
    api.store.create("configmaps", fleet(2), "shop")
    api.store.create("nodes", theirs, "")
    settings = settings_of_a_node(provider_url, fleet="configmap:shop/fleet")
    async with running_node(settings, cluster):
        await api.until(lambda: is_ready(api.store.find("nodes", "a-1")))
        await api.until(lambda: api.store.find("leases", "a-0", "kube-node-lease"))
        lease = api.store.get("leases", "a-0", "kube-node-lease")
        lease["metadata"]["labels"] = {"theirs": "yes"}
        api.store.update("leases", lease)  # a conflict: it is read again
        await api.until(lambda: api.requests_to("GET", "/leases/a-0"))
        api.store.create("pods", {**a_pod(wants="settings", nodeName="a-1"), "metadata": {"name": "last"}}, "shop")
        await api.until(lambda: is_ready(api.store.find("pods", "last", "shop")))
        api.store.update("configmaps", {**api.store.get("configmaps", "fleet", "shop"), "data": fleet(1)["data"]})
        await api.until(lambda: is_ready(api.store.find("nodes", "theirs")))
        await api.until(lambda: api.store.find("leases", "a-1", "kube-node-lease") is None)
        assert api.store.find("nodes", "a-1") is None
        assert api.store.find("pods", "last", "shop") is None


async def run_pods_with_volumes(api: ApiServer) -> None:
    """Run a pod with a token, and one that waits for a trust bundle, which the cluster does not have."""
    sources = [
        {"configMap": {"name": "settings"}},
        {"secret": {"name": "password"}},
        {"serviceAccountToken": {"path": "token"}},
    ]
    api.store.create("pods", mounting("token", *sources), "shop")
    api.store.create("pods", mounting("bundle", {"clusterTrustBundle": {"name": "a", "path": "a"}}), "shop")
    await api.until(lambda: is_ready(api.store.find("pods", "token", "shop")))
    await api.until(
        lambda: any("ClusterTrustBundle" in event["message"] for event in api.store.list("events", "shop"))
    )


def mounting(name: str, *sources: Object) -> Object:
    container = {"name": "app", "image": "app", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    volume = {"name": "v", "projected": {"sources": list(sources)}}
    return {
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"nodeName": NODE, "containers": [container], "volumes": [volume]},
    }


def is_ready(obj: Object | None) -> bool:
    conditions = (obj or {}).get("status", {}).get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def a_pod(*, wants: str, **spec: Any) -> Object:
    return {
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "nodeName": NODE,
            **spec,
            "volumes": [{"name": "disk", "persistentVolumeClaim": {"claimName": "disk"}}],
            "containers": [
                {
                    "name": "app",
                    "image": "app",
                    "volumeMounts": [{"name": "disk", "mountPath": "/disk"}],
                    "envFrom": [{"configMapRef": {"name": wants}}, {"secretRef": {"name": "password"}}],
                }
            ],
        },
    }


async def ask_for_metrics(node: Broker) -> None:
    """Call the kubelet API with a token, as Prometheus does."""
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    async with (
        aiohttp.ClientSession(headers={"Authorization": "Bearer broker-token"}) as session,
        session.get(f"https://127.0.0.1:{node.port}/metrics", ssl=trust) as response,
    ):
        assert response.status == 403  # the API server has denied it


async def test_the_permissions_are_those_that_are_used(
    api: ApiServer, cluster: ClusterConfig, reached: set[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.pods.events._WRITE_INTERVAL", timedelta(0))  # write repeated events at once
    monkeypatch.setattr("broker.node.lease.PERIOD", 0.5)
    monkeypatch.setattr("broker.node.lease.LATE", 0)  # each renewal is late, after which the Node is read
    async with providing(Ways(reports_changes=True, extensions=("podStatuses", "podVolumes"))) as stub:
        await run_the_scenario(api, cluster, stub.url)
        asked = asked_for(api.requests)
        api.requests.clear()
        await run_a_fleet(api, cluster, stub.url)
        asked_by_fleet = asked_for(api.requests)
    missed = calls_in_the_code().keys() - reached
    assert not missed, "calls that the scenarios do not make, so that their permissions are not tested"
    rules = set(allowed(render({"node": {"name": NODE}})))
    assert uncovered(asked, rules) == unused(rules, asked) == set()
    rules_of_fleet = set(
        allowed(render({"node": {"name": NODE}, "fleet": {"pools": [{"name": "a", "count": 2}]}}))
    )
    assert uncovered(asked_by_fleet, rules_of_fleet) == unused(rules_of_fleet - rules, asked_by_fleet) == set()


def test_nodes_cannot_change_other_nodes() -> None:
    rendered = render({"replicas": 2, "node": {"naming": "ordinal", "name": "edge"}})
    named = {rule.name for rule in allowed(rendered) if rule.resource in ("nodes/status", "leases")}
    assert named == {"edge-0", "edge-1", ""}  # RBAC does not know the name on create


def test_without_volumes_no_token_is_created() -> None:
    rules = allowed(render({"broker": {"env": {"POD_VOLUMES": "false"}}}))
    assert "serviceaccounts/token" not in {rule.resource for rule in rules}


@pytest.mark.parametrize("role", ["ClusterRole", "Role"])
def test_no_rule_has_a_wildcard(role: str) -> None:
    for found in render({}).all(role):
        for rule in found["rules"]:
            assert "*" not in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]]
