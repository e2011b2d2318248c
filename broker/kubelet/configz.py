"""`/configz`: the configuration of this node in the terms of a kubelet's `KubeletConfiguration`.

Source: `k8s.io/kubelet/config/v1beta1`. Only what this node has is reported.
"""

from typing import Any

from broker.kubelet.auth import ALLOWED_TTL, DENIED_TTL
from broker.kubernetes.quantity import parse_quantity, whole
from broker.node_info import NodeInfo
from broker.settings import Settings


def configuration(settings: Settings, node: NodeInfo) -> dict[str, Any]:
    """Return the node's `KubeletConfiguration`; durations are in Go's format."""
    taint = settings.taint
    config: dict[str, Any] = {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "address": settings.kubelet_host or "0.0.0.0",  # noqa: S104 - what aiohttp listens on by default
        "port": settings.kubelet_port,
        "authentication": {
            "anonymous": {"enabled": not settings.authentication},
            "webhook": {"enabled": settings.authentication},
            "x509": {"clientCAFile": str(settings.client_ca_file)} if settings.client_ca_file else {},
        },
        "authorization": {
            "mode": "Webhook" if settings.authentication and settings.authorization else "AlwaysAllow",
            "webhook": {"cacheAuthorizedTTL": f"{ALLOWED_TTL:g}s", "cacheUnauthorizedTTL": f"{DENIED_TTL:g}s"},
        },
        "streamingConnectionIdleTimeout": f"{settings.stream_idle_timeout:g}s",
        "enableServer": True,
        "registerNode": True,
        "registerWithTaints": [taint] if taint else [],
    }
    if settings.eviction_hard:
        config["evictionHard"] = dict(settings.eviction_hard)
        config["evictionPressureTransitionPeriod"] = f"{settings.eviction_pressure_transition_period:g}s"
    if "pods" in node.capacity:
        config["maxPods"] = whole(parse_quantity(node.capacity["pods"]))
    return config
