"""Results as a table, JSON and JUnit XML."""

import json
from xml.etree import ElementTree as ET

import pytest

from conformance.check import Check, Level
from conformance.client import Target
from conformance.report import as_json, as_junit, table
from conformance.run import Outcome, Result, conforms
from conformance.wire import Answer, Request

TARGET = Target("127.0.0.1", 3000, token="a-token")
SECRET = "the-value-of-a-variable"


def a_result(outcome: Outcome, level: Level = Level.REQUIRED, target: str = "/getPod?name=unknown") -> Result:
    check = Check(f"reads.{level}-{outcome}", level, "The rule.", "The reason.", lambda provider: None)
    if outcome is Outcome.PASSED:
        return Result(check, outcome)
    request = Request("GET", target, {"Authorization": "Bearer a-token"}, None)
    answer = Answer("HTTP/1.1 404 NOT FOUND", [("Content-Length", "9"), ("Date", "today")], b"not here\0", request)
    return Result(check, outcome, "the problem", answer)


RESULTS = [a_result(outcome, level) for level in Level for outcome in Outcome]


def test_table_lists_checks_by_level() -> None:
    lines = table(RESULTS, TARGET).splitlines()

    for level in Level:
        below = lines[lines.index(level.upper()) :]
        assert f"  passed   reads.{level}-passed" in below
        assert f"  FAILED   reads.{level}-failed" in below
        assert f"  -        reads.{level}-not offered (the problem)" in below
    assert lines[-1] == "http://127.0.0.1:3000: 3 passed, 3 failed, 3 not offered; does not conform"


def test_table_shows_request_response_and_reason() -> None:
    report = table([a_result(Outcome.FAILED)], TARGET)

    for detail in (
        "rule      The rule.",
        "problem   the problem",
        "sent      GET /getPod?name=unknown",
        "received  HTTP/1.1 404 NOT FOUND | Content-Length: 9 | not here",
        "why       The reason.",
    ):
        assert detail in report


def test_json_contains_the_same_details() -> None:
    report = json.loads(as_json(RESULTS, TARGET))

    assert (report["url"], report["conforms"]) == ("http://127.0.0.1:3000", False)
    assert [check["outcome"] for check in report["checks"]] == [result.outcome for result in RESULTS]
    assert report["checks"][1] == {
        "name": "reads.required-failed",
        "level": "required",
        "outcome": "failed",
        "rule": "The rule.",
        "why": "The reason.",
        "problem": "the problem",
        "sent": "GET /getPod?name=unknown",
        "received": "HTTP/1.1 404 NOT FOUND | Content-Length: 9 | not here\0",
    }


def test_junit_skips_failures_that_do_not_matter() -> None:
    suite = ET.fromstring(as_junit(RESULTS, TARGET))

    found = {case.get("name"): [part.tag for part in case] for case in suite.iter("testcase")}
    assert suite.attrib.items() >= {"tests": "9", "failures": "2", "skipped": "4"}.items()
    assert found["required-passed"] == []
    assert found["required-failed"] == found["extension-failed"] == ["failure"]
    assert found["recommended-failed"] == found["extension-not offered"] == ["skipped"]
    assert "The reason." in str(suite.findtext("testcase/failure"))


@pytest.mark.parametrize("write", [table, as_json, as_junit])
def test_reports_omit_token_and_listed_pods(write: object) -> None:
    assert callable(write)
    listed = a_result(Outcome.FAILED, target="/getPods")
    assert listed.answer
    report = str(write([listed._replace(answer=listed.answer._replace(body=SECRET.encode()))], TARGET))

    assert "a-token" not in report
    assert SECRET not in report


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
def test_recommended_failures_do_not_affect_conformance(outcome: Outcome, level: Level, is_fine: bool) -> None:
    assert conforms([a_result(outcome, level), a_result(Outcome.PASSED)]) is is_fine
