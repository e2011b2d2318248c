"""Format the results of checks as a table, JSON or JUnit XML."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as ET

from conformance.check import Level
from conformance.client import Target
from conformance.run import Outcome, Result, conforms
from conformance.wire import Answer

_MAX_BODY = 200
_REPORTED_HEADERS = ("Content-Type", "Content-Length", "Transfer-Encoding", "Location", "Allow", "Connection")
_MARKS = {Outcome.PASSED: "passed", Outcome.FAILED: "FAILED", Outcome.NOT_OFFERED: "-"}


def table(results: Sequence[Result], target: Target) -> str:
    """Return the results as a table, grouped by level. A failure shows the rule, request, response and reason."""
    lines = []
    for level in Level:
        of_level = [result for result in results if result.check.level is level]
        if of_level:
            lines += [f"{level.upper()}", ""]
            lines += [line for result in of_level for line in _rows(result)]
            lines.append("")
    lines.append(f"{target.url}: {summary(results)}")
    return "\n".join(lines) + "\n"


def summary(results: Sequence[Result]) -> str:
    """Return one line with the number of checks by outcome and whether the provider conforms."""
    counts = Counter(result.outcome for result in results)
    numbers = ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome)
    return f"{numbers}; {'conforms' if conforms(results) else 'does not conform'}"


def as_json(results: Sequence[Result], target: Target) -> str:
    """Return the results as a JSON document."""
    report = {"url": target.url, "conforms": conforms(results), "checks": [_as_dict(result) for result in results]}
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"


def as_junit(results: Sequence[Result], target: Target) -> bytes:
    """Return the results as JUnit XML, which CI servers read.

    A failure that does not affect conformance, such as that of a recommended check, is marked as skipped.
    """
    suite = ET.Element("testsuite", name=f"conformance of {target.url}", tests=str(len(results)))
    for result in results:
        group, _, name = result.check.name.partition(".")
        case = ET.SubElement(suite, "testcase", classname=f"conformance.{group}", name=name)
        if result.outcome is Outcome.PASSED:
            continue
        is_failure = not conforms([result])
        report = ET.SubElement(case, "failure" if is_failure else "skipped", message=_printable(result.problem))
        report.text = _printable("\n".join(f"{name}: {text}" for name, text in _details(result)))
    for name, tag in (("failures", "failure"), ("skipped", "skipped")):
        suite.set(name, str(len(suite.findall(f"testcase/{tag}"))))
    document: bytes = ET.tostring(suite, encoding="utf-8", xml_declaration=True)
    return document


def _rows(result: Result) -> list[str]:
    lines = [f"  {_MARKS[result.outcome]:8} {result.check.name}"]
    if result.outcome is Outcome.FAILED:
        lines += [f"           {name:9} {text}" for name, text in _details(result)]
    if result.outcome is Outcome.NOT_OFFERED:
        lines[0] += f" ({result.problem})"
    return lines


def _details(result: Result) -> list[tuple[str, str]]:
    details = [("rule", result.check.rule), ("problem", result.problem)]
    if result.answer:
        details += [("sent", _sent(result.answer)), ("received", _received(result.answer))]
    return [*details, ("why", result.check.why)]


def _as_dict(result: Result) -> dict[str, Any]:
    check = result.check
    report: dict[str, Any] = {
        "name": check.name,
        "level": check.level,
        "outcome": result.outcome,
        "rule": check.rule,
        "why": check.why,
    }
    if result.outcome is not Outcome.PASSED:
        report["problem"] = result.problem
        if result.answer:
            report |= {"sent": _sent(result.answer), "received": _received(result.answer)}
    return report


def _sent(answer: Answer) -> str:
    if answer.request is None:
        return ""
    return f"{answer.request.method} {answer.request.target} {_excerpt(answer.request.body or b'')}".rstrip()


def _received(answer: Answer) -> str:
    headers = [f"{name}: {value}" for name, value in answer.headers if name.title() in _REPORTED_HEADERS]
    # A list contains the pods of other clients, with the secrets in their environments.
    is_list = answer.request and "/getPods" in answer.request.target
    body = f"({len(answer.body)} bytes)" if is_list else _excerpt(answer.body)
    return " | ".join(part for part in (answer.status_line, *headers, body) if part)


def _excerpt(body: bytes) -> str:
    text = " ".join(body[: _MAX_BODY + 1].decode(errors="replace").split())
    return f"{text[:_MAX_BODY]}… ({len(body)} bytes)" if len(body) > _MAX_BODY else text


def _printable(text: str) -> str:
    """Return the text without characters that XML does not allow."""
    return "".join(character for character in text if character.isprintable() or character == "\n")
