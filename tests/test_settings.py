import json
import os
from collections.abc import Callable
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.errors import ConfigurationError
from app.settings import NodeAddress, Settings
from tests.lifecycle import SECRET, unhurried

Read = Callable[..., Settings]
Refused = Callable[..., list[str]]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Read:
    """Read the settings from an environment that has these variables and no other."""

    def read(**variables: str) -> Settings:
        for name in list(os.environ):
            if not name.startswith("PYTEST_"):
                monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return Settings.from_environment()

    return read


@pytest.fixture
def refused(read: Read) -> Refused:
    """Read settings that are wrong, and give the lines that say so."""

    def refused(**variables: str) -> list[str]:
        with pytest.raises(ConfigurationError) as refusal:
            read(**variables)
        assert refusal.value.__context__ is None  # a traceback would show what it holds
        return str(refusal.value).splitlines()

    return refused


# What is there to set


def test_the_defaults_serve_on_this_machine_alone(read: Read) -> None:
    settings = read()
    assert (settings.host, settings.port, settings.health_port) == ("127.0.0.1", 3000, None)
    assert settings.database_url == "sqlite:///data/provider.db"
    assert settings.node_name == "virtual-kubelet-web"
    assert settings.capacity == {"cpu": "100", "memory": "1Ti", "ephemeral-storage": "1Ti", "pods": "1000"}
    assert settings.addresses == (NodeAddress(type="InternalIP", address="127.0.0.1"),)
    assert settings.host_ips == ("127.0.0.1",)
    assert settings.pod_cidr == IPv4Network("198.18.0.0/15")
    assert settings.start_delay == settings.init_duration == timedelta(0)
    assert settings.job_duration == timedelta(seconds=5)
    assert settings.provider_token is None
    assert settings.cors_origins == ()
    assert settings.audit_hash_chain is False
    assert settings.max_content_length == 2 * 1024 * 1024
    assert (settings.log_level, settings.log_format) == ("INFO", "auto")
    assert 2 <= settings.workers <= 8
    assert settings.threads == 8


IN_THE_ENVIRONMENT: list[tuple[str, str, Any]] = [
    ("PORT", "8080", 8080),
    ("HOST", "127.0.0.2", "127.0.0.2"),
    ("HOST", "::1", "::1"),
    ("HOST", "localhost", "localhost"),
    ("HEALTH_PORT", "8081", 8081),
    ("DATABASE_URL", "sqlite:////var/lib/provider.db", "sqlite:////var/lib/provider.db"),
    ("DATABASE_URL", "postgresql://u:p@db:5433/pods", "postgresql://u:p@db:5433/pods"),
    ("DATABASE_URL", "postgresql+psycopg://u@db/pods", "postgresql+psycopg://u@db/pods"),
    ("DATABASE_URL", "postgresql:///pods?host=/run/postgresql", "postgresql:///pods?host=/run/postgresql"),
    ("NODE_NAME", "edge-7", "edge-7"),
    ("CAPACITY", '{"cpu": "4", "memory": "8Gi", "example.com/gpu": 2}',
     {"cpu": "4", "memory": "8Gi", "example.com/gpu": "2"}),
    ("NODE_ADDRESSES", '[{"type": "Hostname", "address": "edge-7"}]',
     (NodeAddress(type="Hostname", address="edge-7"),)),
    ("VKUBELET_POD_IP", "10.0.0.5", "10.0.0.5"),
    ("VKUBELET_POD_IP", "FD00::0005", "fd00::5"),
    ("POD_CIDR", "10.1.0.0/30", IPv4Network("10.1.0.0/30")),
    ("POD_CIDR", "fd00:1::/64", IPv6Network("fd00:1::/64")),
    ("START_DELAY", "1500ms", timedelta(seconds=1.5)),
    ("START_DELAY", "2", timedelta(seconds=2)),
    ("START_DELAY", "1m30s", timedelta(seconds=90)),
    ("RUNTIME", "package.module:Class", "package.module:Class"),
    ("RUNTIME_DIRECTORY", "/var/lib/runtime", Path("/var/lib/runtime")),
    ("INIT_DURATION", "3s", timedelta(seconds=3)),
    ("JOB_DURATION", "1m", timedelta(minutes=1)),
    ("CORS_ORIGINS", "*", ("*",)),
    ("CORS_ORIGINS", "http://localhost:8080, https://a.example,", ("http://localhost:8080", "https://a.example")),
    ("CORS_ORIGINS", "http://[::1]:8080", ("http://[::1]:8080",)),
    ("AUDIT_HASH_CHAIN", "true", True),
    ("AUDIT_HASH_CHAIN", "false", False),
    ("MAX_CONTENT_LENGTH", "1024", 1024),
    ("LOG_LEVEL", "DEBUG", "DEBUG"),
    ("LOG_LEVEL", "warning", "WARNING"),
    ("LOG_FORMAT", "console", "console"),
    ("WORKERS", "1", 1),
    ("WORKERS", "64", 64),
    ("THREADS", "16", 16),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "value"), IN_THE_ENVIRONMENT)
def test_a_setting_is_the_environment_variable_of_its_name(read: Read, name: str, text: str, value: Any) -> None:
    settings = read(**{name: text})
    assert getattr(settings, name.lower()) == value
    others = {other: setting for other, setting in settings if other != name.lower()}
    assert others == {other: setting for other, setting in read() if other != name.lower()}


def test_a_token_is_read_and_not_shown(read: Read) -> None:
    settings = read(PROVIDER_TOKEN=SECRET)
    assert settings.provider_token
    assert settings.provider_token.get_secret_value() == SECRET
    assert SECRET not in repr(settings.provider_token) + str(settings.provider_token)


def test_every_setting_has_its_case_here() -> None:
    cases = {name for name, _, _ in IN_THE_ENVIRONMENT} | {"PROVIDER_TOKEN"}
    assert cases == {name.upper() for name in Settings.model_fields}


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize("name", [name.upper() for name in Settings.model_fields])
def test_an_empty_variable_is_none_at_all(read: Read, name: str) -> None:
    assert read(**{name: ""}) == read()


def test_settings_do_not_change(read: Read) -> None:
    settings = read()
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1


def test_a_database_is_given_as_sqlalchemy_takes_it(read: Read) -> None:
    url = read(DATABASE_URL=f"postgresql://u:{SECRET}@db:5433/pods").database
    assert (url.get_backend_name(), url.password, url.host, url.port) == ("postgresql", SECRET, "db", 5433)


# The addresses of the node


def test_the_ip_of_the_brokers_pod_is_the_nodes_where_nothing_else_is_said(read: Read) -> None:
    settings = read(VKUBELET_POD_IP="10.0.0.5")
    assert settings.addresses == (NodeAddress(type="InternalIP", address="10.0.0.5"),)
    assert settings.host_ips == ("10.0.0.5",)


def test_the_addresses_that_are_said_come_first(read: Read) -> None:
    said = [
        {"type": "Hostname", "address": "edge-7"},
        {"type": "InternalIP", "address": "10.0.0.6"},
        {"type": "ExternalIP", "address": "192.0.2.1"},
        {"type": "InternalIP", "address": "fd00::6"},
    ]
    settings = read(VKUBELET_POD_IP="10.0.0.5", NODE_ADDRESSES=json.dumps(said))
    assert [address.model_dump() for address in settings.addresses] == said
    assert settings.host_ips == ("10.0.0.6", "fd00::6")


def test_pods_on_a_node_without_an_internal_ip_have_a_host_ip_all_the_same(read: Read) -> None:
    settings = read(NODE_ADDRESSES='[{"type": "Hostname", "address": "edge-7"}]')
    assert settings.host_ips == ("127.0.0.1",)


# Who can reach it


@pytest.mark.parametrize(
    ("variables", "host"),
    [
        pytest.param({}, "127.0.0.1", id="nothing"),
        pytest.param({"PROVIDER_TOKEN": SECRET}, "0.0.0.0", id="token"),
        pytest.param({"PROVIDER_TOKEN": ""}, "127.0.0.1", id="empty token"),
        pytest.param({"PROVIDER_TOKEN": SECRET, "HOST": ""}, "0.0.0.0", id="token, empty host"),
        pytest.param({"PROVIDER_TOKEN": SECRET, "HOST": "127.0.0.1"}, "127.0.0.1", id="token, loopback"),
        pytest.param({"PROVIDER_TOKEN": SECRET, "HOST": "10.0.0.5"}, "10.0.0.5", id="token, address"),
        pytest.param({"PROVIDER_TOKEN": SECRET, "HOST": "::"}, "::", id="token, every address"),
        pytest.param({"HOST": "127.255.0.1"}, "127.255.0.1", id="all of 127 is loopback"),
    ],
)
def test_it_listens_beyond_this_machine_only_with_a_token(
    read: Read, variables: dict[str, str], host: str
) -> None:
    assert read(**variables).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "192.0.2.1", "fd00::5"])
def test_to_be_reachable_without_a_token_is_refused(refused: Refused, host: str) -> None:
    for variables in ({}, {"PROVIDER_TOKEN": ""}):
        (line,) = refused(HOST=host, **variables)
        assert line.startswith("HOST: is reachable from other machines, which needs a PROVIDER_TOKEN")


# What is wrong


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PORT", "3000.5"),
        ("PORT", SECRET),
        ("PORT", "tcp://10.0.0.1:3000"),
        ("HOST", SECRET),
        ("HOST", "example.com"),
        ("HOST", "127.0.0.1:3000"),
        ("HEALTH_PORT", "0"),
        ("HEALTH_PORT", SECRET),
        ("HEALTH_PORT", "3000"),
        ("DATABASE_URL", SECRET),
        ("DATABASE_URL", f"mysql://u:{SECRET}@db/pods"),
        ("DATABASE_URL", f"postgres://u:{SECRET}@db/pods"),
        ("DATABASE_URL", f"postgresql://u:{SECRET}"),
        ("DATABASE_URL", f"postgresql://u:p@db:{SECRET}/pods"),
        ("DATABASE_URL", f"postgresql://db/pods?password={SECRET}"),
        ("DATABASE_URL", f"postgresql://db/pods?sslpassword={SECRET}"),
        ("DATABASE_URL", "sqlite://"),
        ("DATABASE_URL", "sqlite:///"),
        ("DATABASE_URL", "sqlite:///:memory:"),
        ("DATABASE_URL", "sqlite:///provider.db?mode=ro"),
        ("NODE_NAME", "x" * 254),
        ("CAPACITY", SECRET),
        ("CAPACITY", "[]"),
        ("CAPACITY", f'"{SECRET}"'),
        ("CAPACITY", f'{{"cpu": "{SECRET}"}}'),
        ("CAPACITY", '{"cpu": "-1"}'),
        ("CAPACITY", '{"cpu": "1 core"}'),
        ("CAPACITY", '{"cpu": true}'),
        ("CAPACITY", '{"cpu": null}'),
        ("CAPACITY", f'{{"cpu": ["{SECRET}"]}}'),
        ("NODE_ADDRESSES", SECRET),
        ("NODE_ADDRESSES", "{}"),
        ("NODE_ADDRESSES", f'["{SECRET}"]'),
        ("NODE_ADDRESSES", f'[{{"type": "{SECRET}", "address": "10.0.0.5"}}]'),
        ("NODE_ADDRESSES", '[{"type": "InternalIP"}]'),
        ("NODE_ADDRESSES", '[{"type": "InternalIP", "address": ""}]'),
        ("NODE_ADDRESSES", f'[{{"type": "InternalIP", "address": "{SECRET}"}}]'),
        ("NODE_ADDRESSES", f'[{{"type": "InternalIP", "address": "10.0.0.5", "more": "{SECRET}"}}]'),
        ("VKUBELET_POD_IP", SECRET),
        ("VKUBELET_POD_IP", "10.0.0.256"),
        ("POD_CIDR", SECRET),
        ("POD_CIDR", "10.1.0.0/33"),
        ("POD_CIDR", "10.1.0.1/24"),
        ("POD_CIDR", "10.1.0.0/31"),
        ("POD_CIDR", "10.1.0.0"),
        ("POD_CIDR", "fd00:1::/127"),
        ("START_DELAY", SECRET),
        ("START_DELAY", "-1s"),
        ("START_DELAY", "1d"),
        ("START_DELAY", "9" * 400 + "s"),
        ("START_DELAY", "100000000h"),
        ("INIT_DURATION", "1500ms"),
        ("INIT_DURATION", "soon"),
        ("JOB_DURATION", "0s"),
        ("JOB_DURATION", "1.5s"),
        ("PROVIDER_TOKEN", f"{SECRET} with spaces"),
        ("PROVIDER_TOKEN", f"{SECRET}\n"),
        ("PROVIDER_TOKEN", f"{SECRET}é"),
        ("CORS_ORIGINS", SECRET),
        ("CORS_ORIGINS", "http://a.example/path"),
        ("CORS_ORIGINS", "http://a.example/"),
        ("CORS_ORIGINS", "ftp://a.example"),
        ("CORS_ORIGINS", "https://a.example, null"),
        ("CORS_ORIGINS", f"http://u:{SECRET}@a.example"),
        ("AUDIT_HASH_CHAIN", "perhaps"),
        ("MAX_CONTENT_LENGTH", "1023"),
        ("MAX_CONTENT_LENGTH", "2MiB"),
        ("MAX_CONTENT_LENGTH", "9" * 20),
        ("LOG_LEVEL", SECRET),
        ("LOG_FORMAT", SECRET),
        ("WORKERS", "0"),
        ("WORKERS", "65"),
        ("WORKERS", "auto"),
        ("THREADS", "0"),
        ("THREADS", "65"),
        ("THREADS", SECRET),
    ],
)
def test_a_bad_value_stops_the_start_with_a_line_that_names_the_setting_and_not_the_value(
    refused: Refused, name: str, value: str
) -> None:
    (line,) = refused(**{name: value})
    setting, _, reason = line.partition(": ")
    assert setting.partition(".")[0] == name
    assert reason
    assert SECRET not in line
    assert len(value) < 8 or value not in line


def test_everything_that_is_wrong_is_said_at_once(refused: Refused) -> None:
    lines = refused(PORT="x", DATABASE_URL="x", WORKERS="0", NODENAME="edge-7", LOG_FORMAT="json")
    assert sorted(line.partition(":")[0] for line in lines) == ["DATABASE_URL", "NODENAME", "PORT", "WORKERS"]


def test_a_refusal_says_what_would_be_right(refused: Refused) -> None:
    assert refused(DATABASE_URL="x") == [
        "DATABASE_URL: not a URL such as sqlite:///FILE or postgresql://HOST/NAME"
    ]
    assert refused(START_DELAY="soon") == ["START_DELAY: not a duration such as 500ms, 10s or 1m30s"]
    assert refused(CAPACITY='{"cpu": "x"}') == ["CAPACITY: cpu: not a quantity such as 500m, 2 or 1Gi"]


# What is misspelt


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("DATABSE_URL", "DATABASE_URL"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("DATABASEURL", "DATABASE_URL"),
        ("NODENAME", "NODE_NAME"),
        ("NODE_NAMES", "NODE_NAME"),
        ("NODE_ADDRESS", "NODE_ADDRESSES"),
        ("VKUBELET_PODIP", "VKUBELET_POD_IP"),
        ("POD_CIDRS", "POD_CIDR"),
        ("PROVIDER_TOKN", "PROVIDER_TOKEN"),
        ("PROVIDER_TOKENS", "PROVIDER_TOKEN"),
        ("CORS_ORIGIN", "CORS_ORIGINS"),
        ("MAX_CONTENT_LENGHT", "MAX_CONTENT_LENGTH"),
        ("LOGLEVEL", "LOG_LEVEL"),
        ("LOG_FORMATS", "LOG_FORMAT"),
        ("HEALTHPORT", "HEALTH_PORT"),
        ("START_DELAYS", "START_DELAY"),
        ("WORKER", "WORKERS"),
        ("THREAD", "THREADS"),
        ("log_level", "LOG_LEVEL"),
    ],
)
def test_a_misspelt_name_stops_the_start_and_is_told_the_right_one(
    refused: Refused, name: str, right: str
) -> None:
    value = "INFO" if right == "LOG_LEVEL" else SECRET
    assert refused(**{name: value}) == [f"{name}: no such setting; is it {right}?"]


@pytest.mark.parametrize(
    "name",
    [
        "MY_NODE_NAME",
        "HOSTNAME",
        "HOST_IP",
        "NODE_IP",
        "POD_IP",
        "POD_NAME",
        "POD_NAMESPACE",
        "KUBERNETES_PORT",
        "KUBERNETES_PORT_443_TCP",
        "KUBERNETES_PORT_443_TCP_ADDR",
        "KUBERNETES_PORT_443_TCP_PORT",
        "KUBERNETES_PORT_443_TCP_PROTO",
        "KUBERNETES_SERVICE_HOST",
        "KUBERNETES_SERVICE_PORT",
        "KUBERNETES_SERVICE_PORT_HTTPS",
        "PROVIDER_PORT",
        "PROVIDER_PORT_3000_TCP",
        "PROVIDER_SERVICE_HOST",
        "PROVIDER_SERVICE_PORT",
        "PROVIDER_SERVICE_PORT_HTTP",
        "WEB_PORT",
        "VKUBELET_NODE_NAME",
        "KUBELET_PORT",
        "APISERVER_CERT_LOCATION",
        "WEB_ENDPOINT_URL",
        "WEB_CONCURRENCY",
        "GUNICORN_CMD_ARGS",
        "FLASK_APP",
        "FLASK_DEBUG",
        "PYTHONUNBUFFERED",
        "VIRTUAL_ENV",
        "PGHOST",
        "PGPASSWORD",
        "PATH",
        "HOME",
        "PWD",
        "SHLVL",
        "TERM",
        "LANG",
        "CI",
    ],
)
def test_a_variable_of_somebody_elses_is_no_misspelling(read: Read, name: str) -> None:
    assert read(**{name: "x"}) == read()


# What is in force


def test_what_is_in_force_is_every_setting_as_one_would_write_it(read: Read) -> None:
    assert read(HOST="127.0.0.1", WORKERS="2").in_force() == {
        "PORT": "3000",
        "HOST": "127.0.0.1",
        "HEALTH_PORT": "",
        "DATABASE_URL": "sqlite:///data/provider.db",
        "NODE_NAME": "virtual-kubelet-web",
        "CAPACITY": '{"cpu":"100","memory":"1Ti","ephemeral-storage":"1Ti","pods":"1000"}',
        "NODE_ADDRESSES": "[]",
        "VKUBELET_POD_IP": "",
        "POD_CIDR": "198.18.0.0/15",
        "START_DELAY": "0s",
        "RUNTIME": "app.runtimes.synthetic:SyntheticRuntime",
        "RUNTIME_DIRECTORY": "data/runtime",
        "INIT_DURATION": "0s",
        "JOB_DURATION": "5s",
        "PROVIDER_TOKEN": "",
        "CORS_ORIGINS": "",
        "AUDIT_HASH_CHAIN": "false",
        "MAX_CONTENT_LENGTH": "2097152",
        "LOG_LEVEL": "INFO",
        "LOG_FORMAT": "auto",
        "WORKERS": "2",
        "THREADS": "8",
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [(name, text) for name, text, _ in IN_THE_ENVIRONMENT if "u:p@" not in text],
)
def test_what_is_in_force_can_be_set_again(read: Read, name: str, text: str) -> None:
    settings = read(**{name: text})
    again = read(**settings.in_force())
    assert again.database == settings.database  # written in another way, perhaps
    assert again.model_copy(update={"database_url": settings.database_url}) == settings


@unhurried
@given(st.timedeltas(timedelta(0), timedelta(days=365)))
def test_a_start_delay_in_force_is_the_one_that_was_set(delay: timedelta) -> None:
    in_force = Settings.model_validate({"start_delay": delay}).in_force()
    assert Settings.model_validate({"start_delay": in_force["START_DELAY"]}).start_delay == delay


def test_no_secret_is_in_force(read: Read) -> None:
    settings = read(
        DATABASE_URL=f"postgresql://u:{SECRET}@db/pods?sslmode=require", PROVIDER_TOKEN=f"{SECRET}-too"
    )
    in_force = settings.in_force()
    assert SECRET not in json.dumps(in_force)
    assert in_force["DATABASE_URL"] == "postgresql://u:***@db/pods?sslmode=require"
    assert in_force["PROVIDER_TOKEN"] == read(PROVIDER_TOKEN="x").in_force()["PROVIDER_TOKEN"]
