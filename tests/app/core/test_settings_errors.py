"""Invalid and misspelt settings: each prevents the start, with an error that names the setting."""

import pytest

from tests.app.core.conftest import Read, Refused
from tests.app.simulation import SECRET

# Invalid values


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
        ("NODE_OVERRIDES", '{"spot-*": {"capacity": {"cpu": "1"}, "allocatable": {"cpu": "1500m"}}}'),
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
        ("USAGE_CPU", "some"),
        ("USAGE_CPU", "-10%"),
        ("USAGE_MEMORY", "%"),
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
        ("MIN_FREE_DISK", "-1"),
        ("MIN_FREE_DISK", "some"),
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
def test_an_error_names_the_setting_without_its_value(refused: Refused, name: str, value: str) -> None:
    (line,) = refused(**{name: value})
    setting, _, reason = line.partition(": ")
    assert setting.partition(".")[0] == name
    assert reason
    assert SECRET not in line
    assert len(value) < 8 or value not in line


def test_all_errors_are_reported_at_once(refused: Refused) -> None:
    lines = refused(PORT="x", DATABASE_URL="x", WORKERS="0", NODENAME="edge-7", LOG_FORMAT="json")
    assert sorted(line.partition(":")[0] for line in lines) == ["DATABASE_URL", "NODENAME", "PORT", "WORKERS"]


def test_an_error_describes_the_valid_form(refused: Refused) -> None:
    assert refused(DATABASE_URL="x") == [
        "DATABASE_URL: not a URL such as sqlite:///FILE or postgresql://HOST/NAME"
    ]
    assert refused(START_DELAY="soon") == ["START_DELAY: not a duration such as 500ms, 10s or 1m30s"]
    assert refused(CAPACITY='{"cpu": "x"}') == ["CAPACITY: cpu: not a quantity such as 500m, 2 or 1Gi"]


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("PORT", "99999", "PORT: must be less than or equal to 65535"),
        ("PORT", "x", "PORT: must be a whole number"),
        ("STREAMS", "perhaps", "STREAMS: must be true or false"),
        ("SLURM_USERS", "[]", "SLURM_USERS: must be a JSON object"),
        ("NODE_ADDRESSES", "{}", "NODE_ADDRESSES: must be a JSON array"),
        ("NODE_ADDRESSES", '[{"type": "InternalIP"}]', "NODE_ADDRESSES.0.address: must be set"),
        ("NODE_OVERRIDES", '{"a": {"capcity": {}}}', "NODE_OVERRIDES.a.capcity: no such field"),
    ],
)
def test_an_error_is_not_written_for_authors_of_python(
    refused: Refused, name: str, value: str, problem: str
) -> None:
    assert refused(**{name: value}) == [problem]


# Misspelt names


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
def test_a_misspelt_name_is_an_error_with_correction(refused: Refused, name: str, right: str) -> None:
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
def test_unrelated_variables_are_no_misspellings(read: Read, name: str) -> None:
    assert read(**{name: "x"}) == read()
