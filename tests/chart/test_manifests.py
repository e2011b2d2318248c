"""The rendered objects: valid for every supported Kubernetes, and allowed by Pod Security `restricted`."""

from typing import Any

import pytest

from tests.chart.chart import FOREIGN, VERSIONS, Object, complaints, environment, render, validate
from tests.chart.combinations import COMBINATIONS, IMAGE

EACH = pytest.mark.parametrize("values", COMBINATIONS.values(), ids=COMBINATIONS.keys())


@EACH
def test_lint_passes(values: dict[str, Any]) -> None:
    assert complaints(values) == []


@EACH
@pytest.mark.parametrize("version", VERSIONS)
def test_valid_for(version: str, values: dict[str, Any]) -> None:
    for obj in render(values).objects:
        if obj["kind"] not in FOREIGN:
            validate(obj, version)


@EACH
def test_every_object_has_the_labels_of_the_release(values: dict[str, Any]) -> None:
    for obj in render(values, name="edge", namespace="nodes").objects:
        labels = obj["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "edge"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        if not obj["kind"].startswith("ClusterRole"):
            assert obj["metadata"]["namespace"] in ("nodes", "kube-node-lease", "kube-system")


def test_releases_in_two_namespaces_share_nothing() -> None:
    def identities(namespace: str) -> set[tuple[str, str, str]]:
        objects = render({}, name="edge", namespace=namespace).objects
        return {(o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]) for o in objects}

    assert not identities("one") & identities("two")


@EACH
def test_pod_security_restricted_allows_the_pods(values: dict[str, Any]) -> None:
    """See https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted."""
    for pod in render(values).pods():
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert {next(iter(v.keys() - {"name"})) for v in pod["volumes"]} <= {"emptyDir", "projected", "secret"}
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*pod.get("initContainers", ()), *pod["containers"]]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["readOnlyRootFilesystem"] is True
            assert context.get("runAsUser", 1) > 0
            assert not any("hostPort" in port for port in container.get("ports", ()))


@EACH
def test_each_container_has_probes_and_limits(values: dict[str, Any]) -> None:
    unprobed = {"provider"} if "probe" in values.get("provider", {}) else set()
    for container in render(values).pod["containers"]:
        probes = {name for name in container if name.endswith("Probe")}
        expected = {"startupProbe", "livenessProbe", "readinessProbe"}
        assert probes == (set() if container["name"] in unprobed else expected)
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert container["resources"]["limits"].keys() == {"memory"}


def test_the_probes_of_the_broker() -> None:
    broker = render({}).container("broker")
    assert broker["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "kubelet", "scheme": "HTTPS"}
    assert broker["startupProbe"]["httpGet"] == broker["livenessProbe"]["httpGet"]
    assert broker["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "kubelet", "scheme": "HTTPS"}


@EACH
def test_only_the_broker_gets_the_token(values: dict[str, Any]) -> None:
    rendered = render(values)
    assert rendered.one("ServiceAccount")["automountServiceAccountToken"] is False
    assert rendered.pod["automountServiceAccountToken"] is False
    mounting = {
        container["name"]
        for container in [*rendered.pod.get("initContainers", ()), *rendered.pod["containers"]]
        for mount in container["volumeMounts"]
        if "serviceaccount" in mount["mountPath"]
    }
    assert mounting == {"broker"}


@EACH
def test_the_pods_are_on_no_virtual_node(values: dict[str, Any]) -> None:
    for pod in render(values).pods():
        affinity = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert affinity["nodeSelectorTerms"] == [
            {"matchExpressions": [{"key": "type", "operator": "NotIn", "values": ["virtual-kubelet"]}]}
        ]


def test_the_provider_listens_for_its_pod_only() -> None:
    rendered = render({})
    assert environment(rendered.container("provider"))["HOST"] == "127.0.0.1"
    assert environment(rendered.container("broker"))["WEB_ENDPOINT_URL"] == "http://127.0.0.1:3000"
    assert [p["name"] for c in rendered.pod["containers"] for p in c["ports"]] == ["health", "kubelet"]
    assert [port["name"] for port in rendered.one("Service")["spec"]["ports"]] == ["kubelet"]


def test_a_provider_token_does_not_change_the_address() -> None:
    rendered = render({"provider": {"envFrom": [{"secretRef": {"name": "token"}}]}})
    assert environment(rendered.container("provider"))["HOST"] == "127.0.0.1"


def test_the_network_policy_allows_the_kubelet_api_only() -> None:
    rendered = render({"networkPolicy": {"enabled": True}})
    spec = rendered.one("NetworkPolicy")["spec"]
    assert [rule["ports"] for rule in spec["ingress"]] == [[{"port": "kubelet", "protocol": "TCP"}]]
    assert spec["podSelector"]["matchLabels"].items() <= labels_of_the_pods(rendered.one("StatefulSet")).items()


@pytest.mark.parametrize(
    ("provider", "ports"),
    [({}, ["kubelet", "health"]), (COMBINATIONS["somebody_elses_provider"]["provider"], ["kubelet"])],
    ids=["reference", "custom"],
)
def test_the_monitor_scrapes_broker_and_reference_provider(provider: dict[str, Any], ports: list[str]) -> None:
    rendered = render(
        {"provider": provider, "serviceMonitor": {"enabled": True}, "networkPolicy": {"enabled": True}}
    )
    scraped = [endpoint["port"] for endpoint in rendered.one("ServiceMonitor")["spec"]["endpoints"]]
    assert list(dict.fromkeys(scraped)) == ports
    assert [port["name"] for port in rendered.one("Service")["spec"]["ports"]] == ports
    [rule] = rendered.one("NetworkPolicy")["spec"]["ingress"]
    assert [port["port"] for port in rule["ports"]] == ports
    assert set(ports) <= {port["name"] for c in rendered.pod["containers"] for port in c.get("ports", ())}


def test_the_monitor_keeps_the_labels_of_usage() -> None:
    endpoints = render({"serviceMonitor": {"enabled": True}}).one("ServiceMonitor")["spec"]["endpoints"]
    of_broker = [endpoint for endpoint in endpoints if endpoint["port"] == "kubelet"]
    assert {endpoint["path"] for endpoint in of_broker} >= {"/metrics", "/metrics/cadvisor"}
    assert all(endpoint["honorLabels"] for endpoint in of_broker)
    assert all(endpoint["relabelings"][0]["targetLabel"] == "metrics_path" for endpoint in of_broker)


def test_the_monitor_of_a_fleet_scrapes_the_broker() -> None:
    fleet = {"node": {"name": "lab"}, "fleet": {"pools": [{"name": "spot", "count": 2}]}}
    endpoints = render({**fleet, "serviceMonitor": {"enabled": True}}).one("ServiceMonitor")["spec"]["endpoints"]
    paths = [endpoint["path"] for endpoint in endpoints if endpoint["port"] == "kubelet"]
    assert paths == ["/metrics"]  # the others need the name of a node


def test_selectors_match_the_nodes_only() -> None:
    rendered = render({})
    selectors = [
        rendered.one("Service")["spec"]["selector"],
        rendered.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        rendered.one("StatefulSet")["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= labels_of_the_pods(rendered.one("StatefulSet")).items()
        assert not selector.items() <= rendered.one("Pod")["metadata"]["labels"].items()


def labels_of_the_pods(statefulset: Object) -> dict[str, str]:
    labels: dict[str, str] = statefulset["spec"]["template"]["metadata"]["labels"]
    return labels


def test_a_fixed_name_is_the_node_name() -> None:
    rendered = render({"node": {"name": "edge"}})
    assert environment(rendered.container("broker"))["NODE_NAME"] == "edge"
    assert environment(rendered.container("provider"))["NODE_NAME"] == "edge"


def test_several_nodes_are_named_by_pod_index() -> None:
    rendered = render(COMBINATIONS["three_nodes"])
    for name in ("migrate", "provider", "broker"):
        variables = environment(rendered.container(name))
        assert variables["NODE_NAME"] == "virtual-kubelet-web-$(POD_INDEX)"
        assert "apps.kubernetes.io/pod-index" in variables["POD_INDEX"]
        assert list(variables)[:2] == ["POD_INDEX", "NODE_NAME"]  # a variable can be used in later ones


def test_the_node_version_is_not_newer() -> None:
    assert environment(render({}).container("broker"))["KUBELET_VERSION"].startswith("v1.")


def test_each_node_has_its_own_volume() -> None:
    rendered = render({})
    (claim,) = rendered.one("StatefulSet")["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "data"
    for name in ("migrate", "provider"):
        assert environment(rendered.container(name))["DATABASE_URL"] == "sqlite:////data/provider/provider.db"
        assert {"name": "data", "mountPath": "/data"} in rendered.container(name)["volumeMounts"]


def test_the_url_of_postgresql_is_in_a_secret() -> None:
    rendered = render(COMBINATIONS["three_nodes_on_postgresql"])
    assert "volumeClaimTemplates" not in rendered.one("StatefulSet")["spec"]
    for name in ("migrate", "provider"):
        source = environment(rendered.container(name))["DATABASE_URL"]
        assert source == "{'secretKeyRef': {'name': 'audit', 'key': 'DATABASE_URL'}}"


def test_only_the_init_container_migrates() -> None:
    rendered = render({})
    assert [c["name"] for c in rendered.pod["initContainers"]] == ["migrate"]
    assert rendered.container("migrate")["args"] == ["migrate"]
    assert rendered.container("provider")["args"] == ["provider", "--no-migrate"]


def test_a_custom_provider_gets_its_own_environment_only() -> None:
    rendered = render(COMBINATIONS["somebody_elses_provider"])
    provider = rendered.container("provider")
    assert provider["image"] == IMAGE
    assert environment(provider).keys() == {"NODE_NAME", "VKUBELET_POD_IP", "PORT", "QUEUE"}
    assert provider["envFrom"] == [{"secretRef": {"name": "queue"}}]
    assert provider["securityContext"]["runAsUser"] == 1000
    assert "command" not in provider
    assert "initContainers" not in rendered.pod


@pytest.mark.parametrize(
    ("combination", "secret"),
    [
        ("a_certificate_from_a_secret", "kubelet"),
        ("a_certificate_by_cert_manager", "virtual-kubelet-web-kubelet"),
    ],
)
def test_the_kubelet_api_shows(combination: str, secret: str) -> None:
    rendered = render(COMBINATIONS[combination])
    variables = environment(rendered.container("broker"))
    assert variables["APISERVER_CERT_LOCATION"] == "/etc/kubelet/tls.crt"
    assert variables["APISERVER_KEY_LOCATION"] == "/etc/kubelet/tls.key"
    (volume,) = (v for v in rendered.pod["volumes"] if v["name"] == "certificate")
    assert volume["secret"]["secretName"] == secret
    for certificate in rendered.all("Certificate"):
        assert certificate["spec"]["secretName"] == secret
        assert certificate["spec"]["dnsNames"] == ["virtual-kubelet-web"]


def test_the_notes_print_the_next_commands() -> None:
    notes = render(COMBINATIONS["three_nodes"], namespace="edge").notes
    assert "kubectl get nodes virtual-kubelet-web-0 virtual-kubelet-web-1 virtual-kubelet-web-2" in notes
    assert "helm test virtual-kubelet-web --namespace edge" in notes
    assert "key: virtual-kubelet.io/provider" in notes
    assert "tolerations" not in render(COMBINATIONS["nothing_that_can_be_off"]).notes


def test_the_notes_name_a_fleet_by_its_label() -> None:
    for values in (COMBINATIONS["a_fleet"], {"node": {"name": "fleet"}, "fleet": {"adopt": {"a": "b"}}}):
        notes = render(values).notes
        assert "The fleet fleet, nodes for pods" in notes
        assert "kubectl get nodes --selector fleet.virtual-kubelet.io/name=fleet\n" in notes
        assert "kubectl delete node --selector fleet.virtual-kubelet.io/name=fleet\n" in notes
