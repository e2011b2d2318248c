"""Combinations of values, by the use that they are for."""

from typing import Any

IMAGE = "registry.example/web-provider@sha256:" + "0" * 64

COMBINATIONS: dict[str, dict[str, Any]] = {
    "as_it_is": {},
    "three_nodes": {"replicas": 3, "node": {"naming": "ordinal"}},
    "three_nodes_on_postgresql": {
        "replicas": 3,
        "node": {"naming": "ordinal"},
        "database": {"kind": "postgresql", "existingSecret": "audit"},
        "data": {"volume": "ephemeral"},
    },
    "somebody_elses_provider": {
        "provider": {
            "kind": "custom",
            "image": {"reference": IMAGE},
            "env": {"QUEUE": "gpu"},
            "envFrom": [{"secretRef": {"name": "queue"}}],
            "runAsUser": 1000,
        }
    },
    "a_provider_that_cannot_be_probed": {
        "provider": {"kind": "custom", "image": {"reference": IMAGE}, "probe": {"enabled": False}}
    },
    "a_certificate_from_a_secret": {"kubelet": {"certificate": "secret", "secretName": "kubelet"}},
    "a_certificate_by_cert_manager": {
        "kubelet": {"certificate": "cert-manager", "issuer": {"name": "ca", "kind": "ClusterIssuer"}}
    },
    "everything_on": {
        "imagePullSecrets": [{"name": "registry"}],
        "node": {"labels": {"zone": "a", "example.com/disk": "ssd"}},
        "broker": {"env": {"POD_SYNC_WORKERS": "64"}, "envFrom": [{"configMapRef": {"name": "broker"}}]},
        "provider": {"env": {"START_DELAY": "2s"}},
        "networkPolicy": {"enabled": True},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "serviceAccount": {"annotations": {"example.com/owner": "team"}},
        "podAnnotations": {"example.com/note": "a note"},
        "podLabels": {"team": "nodes"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "priorityClassName": "system-cluster-critical",
    },
    "a_fleet": {
        "node": {"name": "fleet"},
        "fleet": {
            "pools": [
                {
                    "name": "spot",
                    "count": 200,
                    "capacity": {"cpu": "16", "memory": "64Gi", "pods": "110"},
                    "zones": ["eu-1a", "eu-1b"],
                    "taints": [{"key": "spot", "effect": "NoSchedule"}],
                    "registerDelay": "1m30s",
                    "drain": True,
                }
            ],
            "adopt": {"kwok.x-k8s.io/node": "fake"},
        },
    },
    "nothing_that_can_be_off": {"node": {"taint": {"enabled": False}}, "podDisruptionBudget": {"enabled": False}},
}
