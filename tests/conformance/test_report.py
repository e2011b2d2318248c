"""Results, as people and programs read them."""

import json
from xml.etree import ElementTree as ET

import pytest

from conformance.check import Check, Level
from conformance.provider import Target
from conformance.report import as_json, as_junit, table
from conformance.run import Outcome, Result, conforms
from conformance.wire import Answer, Request

TARGET = Target("127.0.0.1", 3000, token="a-token")
SECRET = "the-value-of-a-variable"


def a_result(outcome: Outcome, level: Level = Level.REQUIRED, target: str = "/getPod?name=nobody") -> Result:
    check = Check(f"reads.{level}-{outcome}", level, "It is so.", "It would be bad.", lambda provider: None)
    if outcome is Outcome.PASSED:
        return Result(check, outcome)
    request = Request("GET", target, {"Authorization": "Bearer a-token"}, None)
    answer = Answer("HTTP/1.1 404 NOT FOUND", [("Content-Length", "9"), ("Date", "today")], b"not here\0", request)
    return Result(check, outcome, "it is not", answer)


RESULTS = [a_result(outcome, level) for level in Level for outcome in Outcome]


def test_the_table_has_every_check_below_its_level() -> None:
    lines = table(RESULTS, TARGET).splitlines()

    for level in Level:
        below = lines[lines.index(level.upper()) :]
        assert f"  passed   reads.{level}-passed" in below
        assert f"  FAILED   reads.{level}-failed" in below
        assert f"  -        reads.{level}-not offered (it is not)" in below
    assert lines[-1] == "http://127.0.0.1:3000: 3 passed, 3 failed, 3 not offered; does not conform"


def test_the_table_tells_what_was_sent_what_came_back_and_why_it_matters() -> None:
    told = table([a_result(Outcome.FAILED)], TARGET)

    for detail in (
        "rule      It is so.",
        "problem   it is not",
        "sent      GET /getPod?name=nobody",
        "received  HTTP/1.1 404 NOT FOUND | Content-Length: 9 | not here",
        "why       It would be bad.",
    ):
        assert detail in told


def test_json_has_the_same_for_programs() -> None:
    told = json.loads(as_json(RESULTS, TARGET))

    assert (told["url"], told["conforms"]) == ("http://127.0.0.1:3000", False)
    assert [check["outcome"] for check in told["checks"]] == [result.outcome for result in RESULTS]
    assert told["checks"][1] == {
        "name": "reads.required-failed",
        "level": "required",
        "outcome": "failed",
        "rule": "It is so.",
        "why": "It would be bad.",
        "problem": "it is not",
        "sent": "GET /getPod?name=nobody",
        "received": "HTTP/1.1 404 NOT FOUND | Content-Length: 9 | not here\0",
    }


def test_junit_fails_what_keeps_a_provider_from_conforming_and_skips_the_rest() -> None:
    suite = ET.fromstring(as_junit(RESULTS, TARGET))

    found = {case.get("name"): [part.tag for part in case] for case in suite.iter("testcase")}
    assert suite.attrib.items() >= {"tests": "9", "failures": "2", "skipped": "4"}.items()
    assert found["required-passed"] == []
    assert found["required-failed"] == found["extension-failed"] == ["failure"]
    assert found["recommended-failed"] == found["extension-not offered"] == ["skipped"]
    assert "It would be bad." in str(suite.findtext("testcase/failure"))


@pytest.mark.parametrize("write", [table, as_json, as_junit])
def test_no_report_has_the_token_or_the_pods_of_others(write: object) -> None:
    assert callable(write)
    listed = a_result(Outcome.FAILED, target="/getPods")
    assert listed.answer
    told = str(write([listed._replace(answer=listed.answer._replace(body=SECRET.encode()))], TARGET))

    assert "a-token" not in told
    assert SECRET not in told


@pytest.mark.parametrize(
    ("outcome", "level", "is_fine"),
    [
        (Outcome.FAILED, Level.REQUIRED, False),
        (Outcome.FAILED, Level.RECOMMENDED, True),
        (Outcome.FAILED, Level.EXTENSION, False),
        (Outcome.NOT_OFFERED, Level.EXTENSION, True),
        (Outcome.PASSED, Level.REQUIRED, True),
    ],
)
def test_a_provider_conforms_where_what_it_must_have_and_what_it_offers_is_right(
    outcome: Outcome, level: Level, is_fine: bool
) -> None:
    assert conforms([a_result(outcome, level), a_result(Outcome.PASSED)]) is is_fine
