"""Connection settings from a kubeconfig or the service account of a pod."""

import base64
import ssl
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.errors import ConfigurationError
from broker.kubernetes.config import from_kubeconfig, in_cluster, load
from tests.broker.certificates import Authority


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def kubeconfig(path: Path, *, cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443/", **(cluster or {})}}],
        "users": [{"name": "u", "user": {"token": "secret-1"} if user is None else user}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config"


def test_server_and_token_of_the_current_context(path: Path) -> None:
    config = from_kubeconfig(kubeconfig(path))
    assert config.server == "https://127.0.0.1:6443"
    assert config.authorization() == "Bearer secret-1"
    assert "secret-1" not in repr(config)


def test_certificates_are_read_from_data_or_files(path: Path, authority: Authority) -> None:
    signed = authority.client("alice")
    given = (
        {"certificate-authority": authority.pem},
        {
            "client-certificate": signed.certificate,
            "client-key": signed.key,
        },
    )
    for part in given:
        for name, text in part.items():
            (path.parent / name).write_text(text)
    as_data = [{f"{name}-data": encoded(text) for name, text in part.items()} for part in given]
    as_files = [{name: name for name in part} for part in given]
    for cluster, user in (as_data, as_files):
        config = from_kubeconfig(kubeconfig(path, cluster=cluster, user=user))
        assert config.authorization() is None
        assert config.ssl_context is not None
        assert len(config.ssl_context.get_ca_certs()) == 1
        assert config.ssl_context.verify_mode is ssl.CERT_REQUIRED


def test_a_ca_without_key_usage_is_trusted(
    path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = ssl.create_default_context()
    strict.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: strict)
    config = from_kubeconfig(kubeconfig(path, cluster={"certificate-authority-data": encoded(authority.pem)}))
    assert config.ssl_context is not None
    assert not config.ssl_context.verify_flags & ssl.VERIFY_X509_STRICT


def test_a_token_file_is_read_each_time(path: Path) -> None:
    token = path.parent / "token"
    token.write_text("one\n")
    config = from_kubeconfig(kubeconfig(path, user={"tokenFile": "token"}))
    assert config.authorization() == "Bearer one"
    token.write_text("two\n")
    assert config.authorization() == "Bearer two"


def test_the_name_on_the_certificate_may_be_another(path: Path) -> None:
    config = from_kubeconfig(kubeconfig(path, cluster={"tls-server-name": "kubernetes"}))
    assert config.server_hostname == "kubernetes"


def test_insecure_skip_tls_verify_disables_verification(path: Path) -> None:
    config = from_kubeconfig(kubeconfig(path, cluster={"insecure-skip-tls-verify": True}))
    assert config.ssl_context is not None
    assert config.ssl_context.verify_mode is ssl.CERT_NONE


def test_plain_http_has_no_tls(path: Path) -> None:
    config = from_kubeconfig(kubeconfig(path, cluster={"server": "http://127.0.0.1:8080"}))
    assert config.ssl_context is None


def test_the_first_of_several_files_takes_precedence(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(yaml.safe_dump({"users": [{"name": "u", "user": {"token": "of-the-first"}}]}))
    kubeconfig(second)
    config = load(f"{first}:{tmp_path / 'not-there'}:{second}", {})
    assert config.server == "https://127.0.0.1:6443"
    assert config.authorization() == "Bearer of-the-first"


@pytest.mark.parametrize(
    ("cluster", "user", "complaint"),
    [
        ({}, {"exec": {"command": "aws"}}, "'u' needs 'exec'"),
        ({}, {"auth-provider": {"name": "gcp"}}, "'u' needs 'auth-provider'"),
        ({}, {"username": "a", "password": "secret-2"}, "'u' needs 'username'"),
        ({}, {"client-certificate-data": "secret-2 is no base64"}, "client-certificate-data is not base64"),
        ({}, {"client-certificate-data": encoded("secret-2"), "client-key-data": encoded("x")}, "do not match"),
        ({}, {"client-key": "not-there"}, "client-key .*not-there: No such file"),
        ({}, {"tokenFile": "not-there"}, "token file .*not-there: No such file"),
        ({"certificate-authority-data": encoded("secret-2")}, {}, "not a PEM certificate"),
        ({"server": "127.0.0.1:6443"}, {}, "'c' has no valid server URL"),
        ({"server": ""}, {}, "'c' has no valid server URL"),
        ({"proxy-url": "socks5://localhost"}, {}, "'c' needs a proxy"),
    ],
)
def test_an_unsupported_field_is_named_without_its_secret(
    path: Path, cluster: dict[str, Any], user: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        from_kubeconfig(kubeconfig(path, cluster=cluster, user=user))
    assert "secret-2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is not a kubeconfig"),
        ("a: [", "is not YAML"),
        ("kind: Config", "has no current-context"),
        ("current-context: x", "has no context 'x'"),
        ("current-context: x\ncontexts: [{name: x, context: {cluster: c}}]", "has no cluster 'c'"),
    ],
)
def test_an_invalid_kubeconfig_is_rejected(path: Path, text: str, complaint: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=complaint):
        from_kubeconfig(path)


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"{path}: No such file"):
        load(str(path), {})


def test_in_a_pod_the_service_account_is_used(tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "ca.crt").write_text(authority.pem)
    (tmp_path / "token").write_text("one")
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    config = in_cluster(environment, tmp_path)
    assert config.server == "https://[fd00::1]:443"
    assert config.authorization() == "Bearer one"
    (tmp_path / "token").write_text("two")
    assert config.authorization() == "Bearer two"


def test_a_missing_service_account_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"service account .*ca\.crt: No such file"):
        in_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path)


def test_the_default_kubeconfig_is_used_outside_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match="KUBECONFIG"):
        load(None, {})
    (tmp_path / ".kube").mkdir()
    kubeconfig(tmp_path / ".kube" / "config")
    assert load(None, {}).server == "https://127.0.0.1:6443"
