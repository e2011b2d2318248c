"""A kubeconfig for programs that tests run."""

from pathlib import Path

import yaml

from tests.broker.apiserver import ApiServer
from tests.broker.certificates import Authority


def write_kubeconfig(path: Path, api: ApiServer, authority: Authority) -> Path:
    """Write a kubeconfig of the broker's service account for the fake API server; return its path."""
    (path.parent / "ca.pem").write_text(authority.pem)
    document = {
        "current-context": "tests",
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "broker"}}],
        "clusters": [{"name": "tests", "cluster": {"server": api.url, "certificate-authority": "ca.pem"}}],
        "users": [{"name": "broker", "user": {"token": "broker-token"}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path
