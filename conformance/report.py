"""Results, for people and for programs."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as ET

from conformance.check import Level
from conformance.provider import Target
from conformance.run import Outcome, Result, conforms
from conformance.wire import Answer

_SHOWN = 200
_TOLD_HEADERS = ("Content-Type", "Content-Length", "Transfer-Encoding", "Location", "Allow", "Connection")
_MARKS = {Outcome.PASSED: "passed", Outcome.FAILED: "FAILED", Outcome.NOT_OFFERED: "-"}


def table(results: Sequence[Result], target: Target) -> str:
    """Write the results as a table, level by level.

    Of what failed it tells what was sent, what came back, and why it matters.
    """
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
    """Say in a line how many checks came out in which way, and what that means."""
    counts = Counter(result.outcome for result in results)
    numbers = ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome)
    return f"{numbers}; {'conforms' if conforms(results) else 'does not conform'}"


def as_json(results: Sequence[Result], target: Target) -> str:
    """Write the results as JSON."""
    told = {"url": target.url, "conforms": conforms(results), "checks": [_as_dict(result) for result in results]}
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def as_junit(results: Sequence[Result], target: Target) -> bytes:
    """Write the results as the JUnit XML that CI servers read.

    What does not keep a provider from conforming, such as a recommendation that it does not follow, is skipped.
    """
    suite = ET.Element("testsuite", name=f"conformance of {target.url}", tests=str(len(results)))
    for result in results:
        group, _, name = result.check.name.partition(".")
        case = ET.SubElement(suite, "testcase", classname=f"conformance.{group}", name=name)
        if result.outcome is Outcome.PASSED:
            continue
        is_failure = not conforms([result])
        told = ET.SubElement(case, "failure" if is_failure else "skipped", message=_printable(result.problem))
        told.text = _printable("\n".join(f"{name}: {text}" for name, text in _details(result)))
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
    told: dict[str, Any] = {
        "name": check.name,
        "level": check.level,
        "outcome": result.outcome,
        "rule": check.rule,
        "why": check.why,
    }
    if result.outcome is not Outcome.PASSED:
        told["problem"] = result.problem
        if result.answer:
            told |= {"sent": _sent(result.answer), "received": _received(result.answer)}
    return told


def _sent(answer: Answer) -> str:
    if answer.request is None:
        return ""
    return f"{answer.request.method} {answer.request.target} {_shown(answer.request.body or b'')}".rstrip()


def _received(answer: Answer) -> str:
    headers = [f"{name}: {value}" for name, value in answer.headers if name.title() in _TOLD_HEADERS]
    # A list has the pods of others in it, with what is secret in their environments.
    is_list = answer.request and "/getPods" in answer.request.target
    body = f"({len(answer.body)} bytes)" if is_list else _shown(answer.body)
    return " | ".join(part for part in (answer.status_line, *headers, body) if part)


def _shown(body: bytes) -> str:
    text = " ".join(body[: _SHOWN + 1].decode(errors="replace").split())
    return f"{text[:_SHOWN]}… ({len(body)} bytes)" if len(body) > _SHOWN else text


def _printable(text: str) -> str:
    """Leave out what XML cannot have."""
    return "".join(character for character in text if character.isprintable() or character == "\n")
