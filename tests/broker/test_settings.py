"""The settings of the broker: flags, environment and errors."""

import subprocess
import sys
from pathlib import Path

import pytest

from broker.errors import ConfigurationError
from broker.settings import Settings, flag, variable
from tests.server import CLEAN, ROOT

URL = {"WEB_ENDPOINT_URL": "http://127.0.0.1:3000"}


def test_the_environment_of_the_original_broker_is_honoured() -> None:
    settings = Settings.load(
        [],
        {
            "WEB_ENDPOINT_URL": "http://provider:3000/api/",
            "KUBELET_PORT": "10260",
            "VKUBELET_POD_IP": "10.0.0.7",
            "VKUBELET_TAINT_KEY": "example.com/web",
            "VKUBELET_TAINT_VALUE": "yes",
            "VKUBELET_TAINT_EFFECT": "NoExecute",
            "APISERVER_CERT_LOCATION": "/etc/tls/cert.pem",
            "APISERVER_KEY_LOCATION": "/etc/tls/key.pem",
            "KUBECONFIG": "/root/.kube/config",
        },
    )
    assert settings.web_endpoint_url == "http://provider:3000/api"
    assert settings.kubelet_port == 10260
    assert settings.pod_ip == "10.0.0.7"
    assert settings.taint == {"key": "example.com/web", "value": "yes", "effect": "NoExecute"}
    assert (settings.tls_cert_file, settings.tls_key_file) == (Path("/etc/tls/cert.pem"), Path("/etc/tls/key.pem"))
    assert settings.kubeconfig == "/root/.kube/config"


def test_flags_of_the_original_broker_are_accepted() -> None:
    flags = [
        "--nodename",
        "edge-1",
        "--provider",
        "web",
        "--os=windows",
        "--disable-taint",
        "--pod-sync-workers=3",
    ]
    settings = Settings.load([*flags, "--log-level", "debug", "--metrics-addr=:10255"], URL)
    assert settings.node_name == "edge-1"
    assert settings.operating_system == "windows"
    assert settings.taint is None
    assert settings.workers == 3
    assert settings.log_level == "DEBUG"
    assert settings.metrics_addr == ":10255"


def test_a_flag_takes_precedence_over_the_environment() -> None:
    assert Settings.load(["--node-name=of-the-flag"], {**URL, "NODE_NAME": "of-the-environment"}).node_name == (
        "of-the-flag"
    )


@pytest.mark.parametrize(("text", "seconds"), [("500ms", 0.5), ("10s", 10), ("2m", 120), ("0.5m", 30)])
def test_a_duration_has_a_unit(text: str, seconds: float) -> None:
    assert Settings.load(["--provider-timeout", text], URL).provider_timeout == seconds


def test_labels_are_pairs() -> None:
    settings = Settings.load([], {**URL, "NODE_LABELS": "zone=a, example.com/disk=,"})
    assert settings.labels == {"zone": "a", "example.com/disk": ""}


def test_eviction_thresholds_are_those_of_a_kubelet() -> None:
    text = "memory.available<100Mi, nodefs.available<7.5%,pid.available<0%"
    settings = Settings.load([], {**URL, "EVICTION_HARD": text})
    assert settings.eviction_hard == {"memory.available": "100Mi", "nodefs.available": "7.5%"}


def test_an_empty_variable_is_not_set() -> None:
    assert Settings.load([], {**URL, "VKUBELET_POD_IP": "", "NODE_NAME": ""}).node_name == "virtual-kubelet-web"


@pytest.mark.parametrize(
    ("flags", "environment", "complaint"),
    [
        ([], {"WEB_ENDPOINT_URL": ""}, "WEB_ENDPOINT_URL: must be set"),
        ([], {"WEB_ENDPOINT_URL": "provider:3000"}, "WEB_ENDPOINT_URL: not a URL such as"),
        ([], {"WEB_ENDPOINT_URL": "http://a?b"}, "WEB_ENDPOINT_URL: not a URL such as"),
        ([], {"WEB_ENDPOINT_URL": "http://a:99999"}, "WEB_ENDPOINT_URL: not a URL such as"),
        ([], {"WEB_ENDPOINT_URL": "http://me:secret-1@a"}, "use PROVIDER_TOKEN"),
        ([], {"WEB_ENDPOINT_UR": "secret-1"}, "WEB_ENDPOINT_UR: no such setting; is it WEB_ENDPOINT_URL?"),
        ([], {"PROVIDER_TOKEN": "secret-1 "}, "PROVIDER_TOKEN: must be printable"),
        ([], {"NODE_NAME": "Edge_1"}, "NODE_NAME: must be lower case letters"),
        (["--node-name=-"], {}, "--node-name: must be lower case letters"),
        (["--kubelet-port=70000"], {}, "--kubelet-port: must be less than or equal to 65535"),
        (["--kubelet-port", "x"], {}, "--kubelet-port: must be a whole number"),
        (["--disable-taint=perhaps"], {}, "--disable-taint: must be true or false"),
        ([], {"VKUBELET_POD_IP": "here"}, "VKUBELET_POD_IP: not an IP address"),
        ([], {"VKUBELET_TAINT_EFFECT": "NoSchedul"}, "VKUBELET_TAINT_EFFECT: .*NoSchedule"),
        ([], {"VKUBELET_TAINT_KEY": "a b"}, "VKUBELET_TAINT_KEY: not a key"),
        ([], {"VKUBELET_TAINT_VALUE": "a b"}, "VKUBELET_TAINT_VALUE: at most 63"),
        ([], {"NODE_LABELS": "zone"}, "NODE_LABELS: not labels"),
        ([], {"EVICTION_HARD": "memory.available=1Mi"}, "EVICTION_HARD: not thresholds such as"),
        (
            [],
            {"EVICTION_HARD": "imagefs.available<1Mi"},
            "EVICTION_HARD: the signals are memory",
        ),
        ([], {"EVICTION_HARD": "memory.available<0Mi"}, "EVICTION_HARD: memory.available: not a quantity above 0"),
        ([], {"EVICTION_HARD": "pid.available<101%"}, "EVICTION_HARD: pid.available: not a quantity above 0"),
        ([], {"KUBELET_VERSION": "1.36"}, "KUBELET_VERSION: not a version"),
        ([], {"METRICS_ADDR": "10255"}, "METRICS_ADDR: not an address"),
        ([], {"METRICS_ADDR": ":99999"}, "METRICS_ADDR: not an address"),
        ([], {"APISERVER_CERT_LOCATION": "/a"}, "set both or none"),
        (["--authentication=false"], {}, "AUTHENTICATION: required by AUTHORIZATION"),
        (["--provider-timeout=10"], {}, "--provider-timeout: not a duration"),
        (["--provider=azure"], {}, "--provider: invalid choice"),
        (["--nodname=x"], {}, "--nodname: unknown flag"),
        (["--provider-token=secret-1"], {}, "--provider-token: unknown flag"),
        (["--provider-token", "secret-1"], {}, "--provider-token: unknown flag"),
        (["secret-1"], {}, "arguments: unknown flag"),
    ],
)
def test_an_invalid_setting_is_named_without_its_secret(
    flags: list[str], environment: dict[str, str], complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        Settings.load(flags, {**URL, **environment})
    assert "secret-1" not in str(caught.value)


def test_every_invalid_setting_is_reported() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.load([], {"NODE_NAME": "A", "VKUBELET_POD_IP": "x"})
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "NODE_NAME",
        "WEB_ENDPOINT_URL",
        "VKUBELET_POD_IP",
    ]


def test_help_lists_every_flag_and_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        Settings.load(["--help"], {})
    assert caught.value.code == 0
    output = capsys.readouterr().out
    for name in Settings.model_fields:
        assert variable(name) in output
        assert flag(name) in output or name == "provider_token"


def test_invalid_settings_exit_with_status_2() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "broker"],
        cwd=ROOT,
        env=CLEAN,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr == (
        "vkweb broker: WEB_ENDPOINT_URL: must be set: URL of the provider, such as http://127.0.0.1:3000\n"
    )


def test_changed_settings_are_those_without_the_default() -> None:
    given = {"WEB_ENDPOINT_URL": "http://127.0.0.1:3000", "PROVIDER_TOKEN": "secret", "LOG_LEVEL": "INFO"}
    assert Settings.load(["--nodename=n"], given).changed() == {
        "NODE_NAME": "n",
        "WEB_ENDPOINT_URL": "http://127.0.0.1:3000",
        "PROVIDER_TOKEN": "**********",
    }
