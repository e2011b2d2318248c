import json
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.core.nodes import NodeAddress, NodeOverride
from app.core.settings import Settings
from tests.app.core.conftest import Read, Refused
from tests.app.simulation import SECRET

# Reading


def test_the_defaults_serve_on_loopback_only(read: Read) -> None:
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
    assert settings.max_content_length == 32 * 1024 * 1024
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
    ("NODE_OVERRIDES", '{"spot-*": {"labels": {"zone": "a"}}}', {"spot-*": NodeOverride(labels={"zone": "a"})}),
    ("VKUBELET_POD_IP", "10.0.0.5", "10.0.0.5"),
    ("VKUBELET_POD_IP", "FD00::0005", "fd00::5"),
    ("POD_CIDR", "10.1.0.0/30", IPv4Network("10.1.0.0/30")),
    ("POD_CIDR", "fd00:1::/64", IPv6Network("fd00:1::/64")),
    ("START_DELAY", "1500ms", timedelta(seconds=1.5)),
    ("START_DELAY", "2", timedelta(seconds=2)),
    ("START_DELAY", "1m30s", timedelta(seconds=90)),
    ("RUNTIME", "package.module:Class", "package.module:Class"),
    ("RUNTIME_DIRECTORY", "/var/lib/runtime", Path("/var/lib/runtime")),
    ("MOUNTS", "environment", "environment"),
    ("INIT_DURATION", "3s", timedelta(seconds=3)),
    ("JOB_DURATION", "1m", timedelta(minutes=1)),
    ("USAGE_CPU", "25%", "25%"),
    ("USAGE_MEMORY", "64Mi", "64Mi"),
    ("CORS_ORIGINS", "*", ("*",)),
    ("CORS_ORIGINS", "http://localhost:8080, https://a.example,", ("http://localhost:8080", "https://a.example")),
    ("CORS_ORIGINS", "http://[::1]:8080", ("http://[::1]:8080",)),
    ("AUDIT_HASH_CHAIN", "true", True),
    ("AUDIT_HASH_CHAIN", "false", False),
    ("MAX_CONTENT_LENGTH", "1024", 1024),
    ("REQUEST_TIMEOUT", "2m", timedelta(minutes=2)),
    ("SESSION_LIFETIME", "8h", timedelta(hours=8)),
    ("SESSION_IDLE_TIMEOUT", "15m", timedelta(minutes=15)),
    ("MIN_FREE_DISK", "64Mi", "64Mi"),
    ("SLURM_PARTITIONS", "batch, gpu", ("batch", "gpu")),
    ("SLURM_GRES", '{"nvidia.com/gpu":"gpu:a100"}', {"nvidia.com/gpu": "gpu:a100"}),
    ("SLURM_USERS", '{"physics":["alice","bob"]}', {"physics": ("alice", "bob")}),
    ("CONTAINER_COMMAND", "apptainer exec {image}", "apptainer exec {image}"),
    ("SLURM_PYTHON", "/usr/bin/python3.11", "/usr/bin/python3.11"),
    ("LOG_LEVEL", "DEBUG", "DEBUG"),
    ("LOG_LEVEL", "warning", "WARNING"),
    ("LOG_FORMAT", "console", "console"),
    ("STREAMS", "false", False),
    ("STREAM_SESSIONS", "8", 8),
    ("WORKERS", "1", 1),
    ("WORKERS", "64", 64),
    ("THREADS", "16", 16),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "value"), IN_THE_ENVIRONMENT)
def test_each_setting_reads_its_environment_variable(read: Read, name: str, text: str, value: Any) -> None:
    settings = read(**{name: text})
    assert getattr(settings, name.lower()) == value
    others = {other: setting for other, setting in settings if other != name.lower()}
    assert others == {other: setting for other, setting in read() if other != name.lower()}


def test_a_token_is_read_and_not_shown(read: Read) -> None:
    settings = read(PROVIDER_TOKEN=SECRET)
    assert settings.provider_token
    assert settings.provider_token.get_secret_value() == SECRET
    assert SECRET not in repr(settings.provider_token) + str(settings.provider_token)


def test_every_setting_has_a_case() -> None:
    cases = {name for name, _, _ in IN_THE_ENVIRONMENT} | {"PROVIDER_TOKEN"}
    assert cases == {name.upper() for name in Settings.model_fields}


def test_every_setting_has_a_description() -> None:
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize("name", [name.upper() for name in Settings.model_fields])
def test_an_empty_variable_counts_as_unset(read: Read, name: str) -> None:
    assert read(**{name: ""}) == read()


def test_settings_do_not_change(read: Read) -> None:
    settings = read()
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1


def test_the_database_is_an_sqlalchemy_url(read: Read) -> None:
    url = read(DATABASE_URL=f"postgresql://u:{SECRET}@db:5433/pods").database
    assert (url.get_backend_name(), url.password, url.host, url.port) == ("postgresql", SECRET, "db", 5433)


# Node addresses


def test_vkubelet_pod_ip_is_the_default_node_address(read: Read) -> None:
    settings = read(VKUBELET_POD_IP="10.0.0.5")
    assert settings.addresses == (NodeAddress(type="InternalIP", address="10.0.0.5"),)
    assert settings.host_ips == ("10.0.0.5",)


def test_node_addresses_override_vkubelet_pod_ip(read: Read) -> None:
    reported = [
        {"type": "Hostname", "address": "edge-7"},
        {"type": "InternalIP", "address": "10.0.0.6"},
        {"type": "ExternalIP", "address": "192.0.2.1"},
        {"type": "InternalIP", "address": "fd00::6"},
    ]
    settings = read(VKUBELET_POD_IP="10.0.0.5", NODE_ADDRESSES=json.dumps(reported))
    assert [address.model_dump() for address in settings.addresses] == reported
    assert settings.host_ips == ("10.0.0.6", "fd00::6")


def test_host_ip_has_a_default_without_internal_ip(read: Read) -> None:
    settings = read(NODE_ADDRESSES='[{"type": "Hostname", "address": "edge-7"}]')
    assert settings.host_ips == ("127.0.0.1",)


# Listening address


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
def test_only_a_token_opens_other_addresses(read: Read, variables: dict[str, str], host: str) -> None:
    assert read(**variables).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "192.0.2.1", "fd00::5"])
def test_other_addresses_without_a_token_are_refused(refused: Refused, host: str) -> None:
    for variables in ({}, {"PROVIDER_TOKEN": ""}):
        (line,) = refused(HOST=host, **variables)
        assert line.startswith("HOST: is reachable from other machines, which needs a PROVIDER_TOKEN")


# Printing


def test_effective_settings_print_as_they_are_set(read: Read) -> None:
    assert read(HOST="127.0.0.1", WORKERS="2").in_force() == {
        "PORT": "3000",
        "HOST": "127.0.0.1",
        "HEALTH_PORT": "",
        "DATABASE_URL": "sqlite:///data/provider.db",
        "NODE_NAME": "virtual-kubelet-web",
        "CAPACITY": '{"cpu":"100","memory":"1Ti","ephemeral-storage":"1Ti","pods":"1000"}',
        "NODE_ADDRESSES": "[]",
        "NODE_OVERRIDES": "{}",
        "VKUBELET_POD_IP": "",
        "POD_CIDR": "198.18.0.0/15",
        "START_DELAY": "0s",
        "RUNTIME": "app.runtimes.synthetic:SyntheticRuntime",
        "RUNTIME_DIRECTORY": "data/runtime",
        "SLURM_PARTITIONS": "",
        "SLURM_GRES": '{"nvidia.com/gpu":"gpu"}',
        "SLURM_USERS": "{}",
        "CONTAINER_COMMAND": "",
        "SLURM_PYTHON": "python3",
        "MOUNTS": "auto",
        "INIT_DURATION": "0s",
        "JOB_DURATION": "5s",
        "USAGE_CPU": "10%",
        "USAGE_MEMORY": "10%",
        "PROVIDER_TOKEN": "",
        "CORS_ORIGINS": "",
        "AUDIT_HASH_CHAIN": "false",
        "MAX_CONTENT_LENGTH": "33554432",
        "REQUEST_TIMEOUT": "30s",
        "SESSION_LIFETIME": "43200s",
        "SESSION_IDLE_TIMEOUT": "3600s",
        "MIN_FREE_DISK": "",
        "STREAMS": "true",
        "STREAM_SESSIONS": "256",
        "LOG_LEVEL": "INFO",
        "LOG_FORMAT": "auto",
        "WORKERS": "2",
        "THREADS": "8",
    }


def test_changed_settings_are_those_without_the_default(read: Read) -> None:
    assert read().changed() == {}
    override = '{"a":{"labels":{"zone":"b"}}}'
    assert read(NODE_OVERRIDES=override).changed() == {"NODE_OVERRIDES": override}
    changed = read(PORT="3100", PROVIDER_TOKEN=SECRET, THREADS="8").changed()
    assert changed == {"PORT": "3100", "HOST": "0.0.0.0", "PROVIDER_TOKEN": "**********"}


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "http://127.0.0.1:3000"),
        ({"PORT": "3100", "HOST": "::1"}, "http://[::1]:3100"),
        ({"PROVIDER_TOKEN": "x"}, "http://127.0.0.1:3000"),
        ({"PROVIDER_TOKEN": "x", "HOST": "::"}, "http://[::1]:3000"),
        ({"PROVIDER_TOKEN": "x", "HOST": "10.0.0.5"}, "http://10.0.0.5:3000"),
    ],
)
def test_the_url_is_reachable_from_this_machine(read: Read, variables: dict[str, str], url: str) -> None:
    assert read(**variables).url == url


@pytest.mark.parametrize(
    ("name", "text"),
    [(name, text) for name, text, _ in IN_THE_ENVIRONMENT if "u:p@" not in text],
)
def test_printed_settings_can_be_set_again(read: Read, name: str, text: str) -> None:
    settings = read(**{name: text})
    again = read(**settings.in_force())
    assert again.database == settings.database  # the text may differ
    assert again.model_copy(update={"database_url": settings.database_url}) == settings


@given(st.timedeltas(timedelta(0), timedelta(days=365)))
def test_a_printed_start_delay_parses_to_itself(delay: timedelta) -> None:
    in_force = Settings.model_validate({"start_delay": delay}).in_force()
    assert Settings.model_validate({"start_delay": in_force["START_DELAY"]}).start_delay == delay


def test_no_secret_is_printed(read: Read) -> None:
    settings = read(
        DATABASE_URL=f"postgresql://u:{SECRET}@db/pods?sslmode=require", PROVIDER_TOKEN=f"{SECRET}-too"
    )
    in_force = settings.in_force()
    assert SECRET not in json.dumps(in_force)
    assert in_force["DATABASE_URL"] == "postgresql://u:***@db/pods?sslmode=require"
    assert in_force["PROVIDER_TOKEN"] == read(PROVIDER_TOKEN="x").in_force()["PROVIDER_TOKEN"]
