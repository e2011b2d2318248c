"""Address of the API server and credentials: from a kubeconfig, or from the service account of a pod.

Format of a kubeconfig: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
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
    """Address of an API server and credentials.

    Attributes:
        server: URL, without a trailing slash.
        ssl_context: trusted CAs and the client certificate; None for plain HTTP.
        server_hostname: name on the server's certificate, where it differs from that of the URL.
        token: bearer token.
        token_file: file with a bearer token, read for each request since Kubernetes replaces expiring tokens.
    """

    server: str
    ssl_context: ssl.SSLContext | None = None
    server_hostname: str | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None

    def authorization(self) -> str | None:
        """Return the `Authorization` header of the next request; None without a token.

        Raises:
            ConfigurationError: the token file cannot be read.
        """
        token = self.token if self.token_file is None else _read(self.token_file, "token file").strip()
        return f"Bearer {token}" if token else None


def load(kubeconfig: str | None, environment: Mapping[str, str]) -> ClusterConfig:
    """Load the configuration from the given kubeconfig, else from this pod, else from `~/.kube/config`.

    Args:
        kubeconfig: value of KUBECONFIG: paths separated by colons; the first that sets a value takes precedence.
        environment: environment variables; a pod has `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`.

    Raises:
        ConfigurationError: no configuration, or an unsupported one.
    """
    if kubeconfig:
        return from_kubeconfig(*(Path(path) for path in kubeconfig.split(os.pathsep) if path))
    if environment.get("KUBERNETES_SERVICE_HOST"):
        return in_cluster(environment)
    default = Path.home() / ".kube" / "config"
    if default.exists():
        return from_kubeconfig(default)
    raise ConfigurationError("KUBECONFIG: required outside a pod where ~/.kube/config does not exist")


def in_cluster(environment: Mapping[str, str], directory: Path = SERVICE_ACCOUNT) -> ClusterConfig:
    """Load the service account of the pod that the broker runs in.

    Raises:
        ConfigurationError: its files do not exist, as with `automountServiceAccountToken: false`.
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
    """Load the current context of a kubeconfig.

    Args:
        paths: one or more files; of several, those that do not exist are ignored, as by kubectl.

    Raises:
        ConfigurationError: a file cannot be read, is invalid, or needs an unsupported feature.
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
                f"{where}: user {context['user']!r} needs {option!r}, which is not supported; "
                "use a token, a tokenFile or a client certificate"
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
        raise ConfigurationError(f"{where}: cluster {context['cluster']!r} has no valid server URL")
    config.authorization()
    return config


@dataclass(frozen=True)
class _Entry:
    """Entry of a cluster or a user, and the folder that its relative paths refer to."""

    base: Path
    values: Mapping[str, Any]
    where: str

    def pem(self, option: str) -> str | None:
        """Read the value of `<option>-data` in base64, or the file named by `<option>`; None without either."""
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
        # `load_cert_chain` accepts files alone.
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(f"{certificate}\n{private_key}")
            file.flush()
            try:
                context.load_cert_chain(file.name)
            except ssl.SSLError:
                raise ConfigurationError(f"{user.where}: client certificate and key do not match") from None
    return context


def _trusting(authorities: str | None) -> ssl.SSLContext:
    """Return a context that trusts these CAs alone, in PEM; None: those of the system."""
    try:
        context = ssl.create_default_context(cadata=authorities)
    except (ssl.SSLError, ValueError):
        raise ConfigurationError("the CA of the API server is not a PEM certificate") from None
    # Set by default from Python 3.13. CAs of clusters may lack extensions that it asks for; kubectl trusts them.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _named(
    documents: list[tuple[Path, Mapping[str, Any]]], plural: str, name: object, *, where: str
) -> tuple[Path, Mapping[str, Any]]:
    """Return the folder of the file with a named entry, and the entry."""
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
