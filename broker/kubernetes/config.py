"""Where the API server is and as whom to speak to it: a kubeconfig, or what Kubernetes puts into a pod.

The format: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
"""

import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from broker.errors import ConfigurationError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_UNSUPPORTED = ("exec", "auth-provider", "username", "as")


@dataclass(frozen=True)
class ClusterConfig:
    """How to reach an API server.

    Attributes:
        server: its URL, without a slash at the end.
        ssl_context: whom to trust, and the client certificate; None where the URL is plain HTTP.
        server_hostname: the name on the server's certificate where it is not the URL's.
        token: a bearer token.
        token_file: a file that has one, read again for each request: Kubernetes replaces it as it expires.
    """

    server: str
    ssl_context: ssl.SSLContext | None = None
    server_hostname: str | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None

    def authorization(self) -> str | None:
        """Give the `Authorization` header of the next request; None where a certificate says who asks.

        Raises:
            ConfigurationError: the file is not to be read.
        """
        token = self.token if self.token_file is None else _read(self.token_file, "token file").strip()
        return f"Bearer {token}" if token else None


def load(kubeconfig: str | None, environment: Mapping[str, str]) -> ClusterConfig:
    """Find the API server: in the kubeconfig that is given, else in this pod, else in `~/.kube/config`.

    Args:
        kubeconfig: what KUBECONFIG has: paths with colons between, of which the first that sets a value wins.
        environment: has `KUBERNETES_SERVICE_HOST` and `…_PORT` in a pod.

    Raises:
        ConfigurationError: there is none, or it asks for what this client does not do.
    """
    if kubeconfig:
        return from_kubeconfig(*(Path(path) for path in kubeconfig.split(os.pathsep) if path))
    if environment.get("KUBERNETES_SERVICE_HOST"):
        return in_cluster(environment)
    default = Path.home() / ".kube" / "config"
    if default.exists():
        return from_kubeconfig(default)
    raise ConfigurationError("KUBECONFIG: must name a kubeconfig: this is no pod, and there is no ~/.kube/config")


def in_cluster(environment: Mapping[str, str], directory: Path = SERVICE_ACCOUNT) -> ClusterConfig:
    """Use the service account of the pod that this runs in.

    Raises:
        ConfigurationError: its files are not there (`automountServiceAccountToken: false`?).
    """
    host, port = environment["KUBERNETES_SERVICE_HOST"], environment.get("KUBERNETES_SERVICE_PORT", "443")
    config = ClusterConfig(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        ssl_context=_trusting(_read(directory / "ca.crt", "service account")),
        token_file=directory / "token",
    )
    config.authorization()
    return config


def from_kubeconfig(*paths: Path) -> ClusterConfig:
    """Use the current context of a kubeconfig.

    Args:
        paths: one file or several; those that do not exist are left out, as kubectl does where there are several.

    Raises:
        ConfigurationError: a file is not to be read, or what it says cannot be done.
    """
    files = [path for path in paths if len(paths) == 1 or path.exists()]
    documents = [(path, _parsed(path)) for path in files]
    name = next((found for _, document in documents if (found := document.get("current-context"))), None)
    where = f"kubeconfig {os.pathsep.join(map(str, paths))}"
    if not name:
        raise ConfigurationError(f"{where}: has no current-context")
    _, context = _named(documents, "contexts", name, where=where)
    base, cluster = _named(documents, "clusters", context.get("cluster"), where=where)
    user_base, user = _named(documents, "users", context.get("user"), where=where)
    for option in _UNSUPPORTED:
        if user.get(option):
            raise ConfigurationError(
                f"{where}: user {context['user']!r} needs {option!r}, which this program does not do; "
                "give it a token, a tokenFile or a client certificate"
            )
    if cluster.get("proxy-url"):
        raise ConfigurationError(f"{where}: cluster {context['cluster']!r} needs a proxy, which is not supported")
    token_file = user.get("tokenFile")
    config = ClusterConfig(
        server=str(cluster.get("server", "")).rstrip("/"),
        ssl_context=_ssl_context(_Entry(base, cluster, where), _Entry(user_base, user, where)),
        server_hostname=cluster.get("tls-server-name"),
        token=user.get("token"),
        token_file=user_base / token_file if token_file else None,
    )
    if not config.server.startswith(("https://", "http://")):
        raise ConfigurationError(f"{where}: cluster {context['cluster']!r} has no server that is a URL")
    config.authorization()
    return config


@dataclass(frozen=True)
class _Entry:
    """A cluster's or a user's entry, and the folder that its relative paths begin at."""

    base: Path
    values: Mapping[str, Any]
    where: str

    def pem(self, option: str) -> str | None:
        """Read what is given as `<option>-data` in base64, or as a path."""
        if data := self.values.get(f"{option}-data"):
            try:
                return base64.b64decode(data, validate=True).decode()
            except (binascii.Error, ValueError):
                raise ConfigurationError(f"{self.where}: {option}-data is not base64 of PEM") from None
        path = self.values.get(option)
        return _read(self.base / path, option) if path else None


def _ssl_context(cluster: _Entry, user: _Entry) -> ssl.SSLContext | None:
    if str(cluster.values.get("server", "")).startswith("http://"):
        return None
    context = _trusting(cluster.pem("certificate-authority"))
    if cluster.values.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate, private_key = user.pem("client-certificate"), user.pem("client-key")
    if certificate and private_key:
        # The library reads from files alone.
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(f"{certificate}\n{private_key}")
            file.flush()
            try:
                context.load_cert_chain(file.name)
            except ssl.SSLError:
                raise ConfigurationError(f"{user.where}: client certificate and key do not fit") from None
    return context


def _trusting(authorities: str | None) -> ssl.SSLContext:
    """Trust these authorities alone, in PEM; those of the system where there are none."""
    try:
        return ssl.create_default_context(cadata=authorities)
    except (ssl.SSLError, ValueError):
        raise ConfigurationError("the certificate authority of the API server is no PEM certificate") from None


def _named(
    documents: list[tuple[Path, Mapping[str, Any]]], plural: str, name: object, *, where: str
) -> tuple[Path, Mapping[str, Any]]:
    """Find an entry by its name: the folder of its file, and the entry."""
    singular = plural.removesuffix("s")
    for path, document in documents:
        for entry in document.get(plural) or []:
            if entry.get("name") == name:
                return path.parent, entry.get(singular) or {}
    raise ConfigurationError(f"{where}: has no {singular} {name!r}")


def _parsed(path: Path) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(_read(path, "kubeconfig"))
    except yaml.YAMLError:
        raise ConfigurationError(f"kubeconfig {path}: is not YAML") from None  # the error would quote it
    if not isinstance(document, dict):
        raise ConfigurationError(f"kubeconfig {path}: is not a kubeconfig")
    return document


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "not text"
        raise ConfigurationError(f"{what} {path}: {reason}") from None
