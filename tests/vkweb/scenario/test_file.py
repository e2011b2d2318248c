"""The file of a scenario: what is valid, the errors with their lines, and the published schema."""

import json
from datetime import timedelta

import jsonschema_rs
import pytest
import yaml

from broker.errors import ConfigurationError
from tests.server import ROOT
from vkweb.scenario.file import Fail, Partition, Reclaim, json_schema, parse_scenario

VALID = """\
seed: 7
duration: 10m
steps:
- {at: 30s, action: partition, pool: spot, count: 3, for: 2m}
- {rate: 4/m, from: 1m, until: 5m, action: reclaim, share: 5%, notice: 30s, taint: {key: spot-itn}, drain: true}
- {rate: 1/90s, action: fail, nodes: [spot-1], reason: OOMKilled, pods: 12.5%}
- {at: 1m30s, action: drain, count: 1, gracePeriod: 5s}
- {at: 9m, action: recover, faults: [drain, fail]}
"""


def test_a_valid_file_is_parsed() -> None:
    found = parse_scenario(VALID, name="/tmp/spot-day.yaml")
    assert (found.name, found.seed, found.duration) == ("spot-day", 7, timedelta(minutes=10))
    partition, reclaim, fail, drain, recover = found.steps
    assert isinstance(partition, Partition)
    assert (partition.at, partition.for_) == (timedelta(seconds=30), timedelta(minutes=2))
    assert isinstance(reclaim, Reclaim)
    assert (reclaim.rate, reclaim.share, reclaim.taint.effect) == (timedelta(seconds=15), 0.05, "NoSchedule")
    assert isinstance(fail, Fail)
    assert (fail.rate, fail.pods, fail.nodes) == (timedelta(seconds=90), 0.125, ("spot-1",))
    assert drain.at == timedelta(seconds=90)
    assert recover.share is None


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        ("- {at: 1s, action: slow}", "steps[0]: set one of nodes, count and share"),
        ("- {at: 1s, action: slow, count: 1, share: 5%}", "steps[0]: set one of count and share"),
        ("- {at: 1s, action: slow, nodes: [a], pool: b}", "steps[0]: nodes are named without a pool"),
        ("- {action: slow, count: 1}", "steps[0]: set one of at and rate"),
        ("- {at: 1s, rate: 1/m, action: slow, count: 1}", "steps[0]: set one of at and rate"),
        ("- {at: 1s, until: 2s, action: slow, count: 1}", "steps[0]: from and until are for a rate"),
        ("- {rate: 1/m, from: 2m, until: 1m, action: slow, count: 1}", "steps[0]: until must be later than from"),
        ("- {rate: 1/m, action: slow, count: 1}", "steps[0].rate: needs until, or a duration of the scenario"),
        (
            "- {rate: 0/m, until: 1m, action: slow, count: 1}",
            "steps[0].rate: not a rate such as 4/m, ",
        ),
        ("- {rate: 99/s, until: 1m, action: slow, count: 1}", "steps[0].rate: more than 10 a second"),
        ("- {at: -1, action: slow, count: 1}", "steps[0].at: not a duration such as 500ms, 10s or 1m30s"),
        ("- {at: 2020-01-01T00:00:00Z, action: slow, count: 1}", "steps[0].at: not a duration such as 500ms, "),
        ("- {at: 1s, action: notReady, count: 1, message: ' '}", "steps[0].message: must not be empty"),
        ("- {at: 1s, action: reclaim, count: 1, taint: {key: a b}}", "steps[0].taint.key: not a key such as "),
        ("- {at: 1s, action: slow, share: 101%}", "steps[0].share: not a percentage such as 10%"),
        ("- {at: 1s, action: slow, share: 0%}", "steps[0].share: not a percentage such as 10%"),
        ("- {at: 1s, action: slow, count: true}", "steps[0].count: must be a valid integer"),
        ("- {at: 1s, action: slwo, count: 1}", "steps[0].action: must be one of 'notReady', "),
        ("- {at: 1s, action: slow, count: 1, notice: 1m}", "steps[0].notice: no such field here"),
        ("- {at: 1s, action: recover, faults: [recover]}", "steps[0].faults[0]: must be 'notReady', "),
    ],
)
def test_an_error_names_line_and_field(steps: str, error: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_scenario(f"seed: 1\nsteps:\n{steps}\n", name="s.yaml")
    (line,) = str(raised.value).splitlines()
    assert line.startswith(f"s.yaml:3: {error}")


@pytest.mark.parametrize("times", ["at: 2m", "rate: 1/m, from: 2m"])
def test_a_step_after_the_end_is_an_error(times: str) -> None:
    with pytest.raises(ConfigurationError, match=r"s.yaml:3: steps\[0\]..*: is after the duration"):
        parse_scenario(f"duration: 1m\nsteps:\n- {{{times}, action: slow, count: 1}}\n", name="s.yaml")


def test_the_published_schema_is_current() -> None:
    assert json.loads((ROOT / "docs" / "scenario.schema.json").read_text()) == json_schema()


def test_the_schema_accepts_valid_files_only() -> None:
    validator = jsonschema_rs.Draft202012Validator(json_schema())
    assert not list(validator.iter_errors(yaml.safe_load(VALID)))
    for wrong in ({"at": "soon"}, {"action": "slwo"}, {"x": 1}):
        step = {"at": "1s", "action": "slow", **wrong}
        assert list(validator.iter_errors({"steps": [step]}))
