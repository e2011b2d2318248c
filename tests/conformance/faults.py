"""Faults, one for each check: how the kit says it, and what the provider answers."""

import json
from collections.abc import Callable
from typing import NamedTuple

from tests.conformance import faulty
from tests.conformance.faulty import (
    Faulty,
    changing,
    changing_status,
    condition,
    fact,
    ignoring,
    keyed_by,
    refusing,
    refusing_with,
    saying,
    with_started_at,
    with_status,
)
from tests.conformance.stub import FACTS, SINCE, Reply, Request, json_reply


class Fault(NamedTuple):
    """A fault.

    Attributes:
        problem: a part of what the kit says is wrong.
        answer: what the provider answers.
    """

    problem: str
    answer: Faulty


def on(path: str, method: str | None = None) -> Callable[[Request], bool]:
    """Whether a request is of this path and verb."""
    return lambda request: request.path == path and method in (None, request.method)


def asking_for(**query: str) -> Callable[[Request], bool]:
    """Whether a request has this in its query."""
    return lambda request: query.items() <= request.query.items()


def longer_than(size: int) -> Callable[[Request], bool]:
    """Whether a body is longer."""
    return lambda request: len(request.body) > size


def naming(part: bytes, path: str = "/createPod") -> Callable[[Request], bool]:
    """Whether a body has something in it."""
    return lambda request: request.path == path and part in request.body


NODE = {
    "capacity-is-a-map-of-quantities": Fault(
        "the quantity of cpu is not one of Kubernetes", fact("/capacity", {"cpu": "much"})
    ),
    "capacity-has-cpu-memory-and-pods": Fault("memory, pods missing", fact("/capacity", {"cpu": "1"})),
    "conditions-say-that-the-node-is-ready": Fault("of Ready is none of True", condition(status="true")),
    "times-of-conditions-have-a-zone": Fault(
        "lastHeartbeatTime is '2026-11-25T08:00:00'", condition(lastHeartbeatTime="2026-11-25T08:00:00")
    ),
    "transitions-of-conditions-stand-still": Fault("of Ready it has moved", faulty.moves_the_transition),
    "addresses-are-an-array-of-type-and-address": Fault(
        "the type 'IP' is none of", fact("/nodeAddresses", [{"type": "IP", "address": "127.0.0.1"}])
    ),
    "one-address-is-internal": Fault("there is none", fact("/nodeAddresses", [])),
    "root-answers-200": Fault("GET / answers 404", refusing(404, on("/"))),
}

READS = {
    "an-unknown-pod-is-404-not-found": Fault(
        "the status is '404 NOT FOUND'", refusing(404, on("/getPod"), "NOT FOUND")
    ),
    "the-status-of-an-unknown-pod-is-404-not-found": Fault(
        "the status is '204 No Content'", refusing(204, on("/getPodStatus"))
    ),
    "get-pod-gives-the-pod": Fault(
        "its spec is not what was sent",
        changing("/getPod", lambda reply: json_reply({**reply.data, "spec": {"containers": []}})),
    ),
    "get-pod-status-gives-the-status": Fault("the phase 'running' is none of", with_status(phase="running")),
    "get-pods-lists-the-pod": Fault(
        "the body of GET /getPods is an object, not an array",
        changing("/getPods", lambda reply: json_reply({"items": reply.data})),
    ),
    "the-status-is-the-same-wherever-it-is-read": Fault(
        "they differ", changing("/getPodStatus", lambda reply: json_reply({**reply.data, "phase": "Pending"}))
    ),
    "the-same-name-in-two-namespaces-is-two-pods": Fault("/getPods has 0 of web", keyed_by(lambda _, name: name)),
    "names-that-read-alike-when-joined-are-two-pods": Fault(
        "/getPods has 0 of b-c", keyed_by(lambda namespace, name: f"{namespace}-{name}")
    ),
    "a-long-list-is-whole": Fault(
        "the body of GET /getPods is not JSON",
        changing("/getPods", lambda reply: Reply(200, reply.text.encode()[:1_000_000])),
    ),
    "managed-fields-are-left-out": Fault("it is there", faulty.keeps_managed_fields),
    "fields-of-tomorrow-pass-through": Fault(
        "one that was sent is not in /getPods",
        changing("/getPods", lambda reply: Reply(200, reply.text.replace("aFieldOfTomorrow", "gone").encode())),
    ),
    "a-query-is-form-encoded": Fault("answers 404 Not Found, not 200", faulty.takes_a_plus_for_a_plus),
}

WRITES = {
    "a-create-is-answered-with-an-empty-body": Fault(
        "the body has 2 bytes", changing("/createPod", lambda _: Reply(200, b"OK"))
    ),
    "an-update-is-answered-with-an-empty-body": Fault(
        "PUT /updatePod answers 404 Not Found", refusing(404, on("/updatePod"))
    ),
    "a-delete-is-answered-with-an-empty-body": Fault(
        "there is no Content-Length: 0", changing("/deletePod", lambda _: Reply(200, iter(())))
    ),
    "a-pod-of-the-original-broker-is-taken": Fault(
        "POST /createPod answers 400 Bad Request", refusing(400, naming(b'"creationTimestamp":null'))
    ),
    "a-pod-without-a-status-is-taken": Fault(
        "POST /createPod answers 500",
        refusing(500, lambda request: request.path == "/createPod" and "status" not in request.pod),
    ),
    "the-same-pod-created-twice-is-one-pod": Fault(
        "POST /createPod answers 409 Conflict", faulty.refuses_a_pod_that_is_there
    ),
    "another-uid-under-the-same-name-replaces-the-pod": Fault(
        "the old one is still there", faulty.keeps_the_old_pod
    ),
    "an-update-is-read-back": Fault("the label is the old one", refusing(200, on("/updatePod"))),
    "an-update-of-the-same-pod-in-another-order-changes-nothing": Fault(
        "conditions, containerStatuses, startTime of the status is another than before",
        faulty.starts_again_at_every_update,
    ),
    "a-status-in-a-request-is-not-believed": Fault(
        "phase, reason, podIP, startTime, conditions of the update is in the status", faulty.believes_an_update()
    ),
    "a-delete-takes-the-pod-in-its-body-and-no-other": Fault(
        "another pod of the namespace is gone too", faulty.deletes_a_whole_namespace
    ),
    "a-delete-of-an-unknown-pod-is-404": Fault(
        "answers 200 OK, not 404", refusing(200, naming(b'"nobody"', "/deletePod"))
    ),
    "a-delete-of-another-uid-leaves-the-pod-alone": Fault("the pod is gone", faulty.deletes_by_name),
    "an-update-of-an-unknown-pod-is-404": Fault("the pod is there afterwards", faulty.creates_with_an_update),
}

STATUSES = {
    "a-running-pod-becomes-ready": Fault(
        "the phase is Running, Ready is true", with_status(conditions=[{"type": "Ready", "status": "true"}])
    ),
    "times-have-a-zone": Fault("startTime is '2026-11-25T08:00:00'", with_status(startTime="2026-11-25T08:00:00")),
    "times-are-whole-seconds": Fault(
        "startedAt is '2026-11-25T08:00:00.123Z'", with_started_at(lambda: "2026-11-25T08:00:00.123Z")
    ),
    "times-stand-still": Fault("startedAt has moved within a second", with_started_at(faulty.now)),
    "a-status-has-a-start-time": Fault("startTime is missing", with_status(startTime=None)),
    "every-container-has-one-entry": Fault(
        "restartCount is missing",
        changing_status(lambda status: status["containerStatuses"][0].pop("restartCount")),
    ),
    "a-running-pod-has-an-address": Fault("podIP is missing", with_status(podIP=None)),
}

LOGS = {
    "a-log-is-plain-text": Fault("the body is JSON", saying(json.dumps, "tail")),
    "a-log-says-that-it-is-plain-text": Fault(
        "it is text/html",
        changing("/getContainerLogs", lambda reply: reply._replace(headers={"Content-Type": "text/html"})),
    ),
    "tail-gives-the-last-lines": Fault("of 5 lines, tail=1 gives 5", ignoring("tail")),
    "a-tail-of-0-gives-nothing": Fault("it gives 35 bytes", ignoring("tail")),
    "a-tail-that-is-missing-or-negative-gives-all": Fault(
        "tail=-1 gives another log than no tail", saying(lambda text: text[-7:], "tail")
    ),
    "a-tail-that-is-no-number-is-400": Fault("answers 200 OK, not 400", ignoring("tail")),
    "a-log-of-an-unknown-pod-or-container-is-404": Fault(
        "answers 200 OK, not 404", refusing(200, asking_for(containerName="nobody"))
    ),
    "timestamps-begin-each-line": Fault(
        "a line begins with '1764057600'", saying(lambda text: text.replace(SINCE, "1764057600"), "timestamps")
    ),
    "limit-bytes-cuts-the-log": Fault("of 3 bytes it gives 2", saying(lambda text: text[:2], "limitBytes")),
    "since-leaves-out-what-is-older": Fault(
        "there are lines from the future", saying(lambda _: "line 5\n", "sinceTime")
    ),
    "previous-is-400-where-there-was-no-run-before": Fault(
        "answers 500 Internal Server Error, not 400", refusing(500, asking_for(previous="true"))
    ),
    "follow-goes-on-until-the-pod-is-gone": Fault(
        "it is still open after the pod is gone", faulty.follows_for_ever
    ),
    "what-cannot-be-meant-is-400": Fault("answers 200 OK, not 400", refusing(200, asking_for(limitBytes="0"))),
}

HTTP = {
    "no-path-redirects": Fault("GET /capacity answers 301 Moved Permanently", refusing(301, on("/capacity"))),
    "two-slashes-are-served": Fault("POST //createPod answers 308", refusing(308, on("//createPod"))),
    "the-headers-of-the-original-broker-do-no-harm": Fault(
        "GET /getPods answers 400 Bad Request",
        refusing(400, lambda request: request.method == "GET" and "content-type" in request.headers),
    ),
    "a-connection-stays-open": Fault(
        "it is closed after a write", changing("/createPod", lambda _: Reply(200, headers={"Connection": "close"}))
    ),
    "a-wrong-verb-is-405-and-does-nothing": Fault(
        "GET /createPod answers 200 OK, not 405", refusing(200, on("/createPod", "GET"))
    ),
    "a-large-pod-is-taken": Fault("POST /createPod answers 413", refusing(413, longer_than(100_000))),
    "a-body-that-is-too-large-is-413": Fault(
        "answers 500 Internal Server Error, not 413", refusing(500, longer_than(2_000_000))
    ),
}

ERRORS = {
    "a-body-that-is-no-json-is-400": Fault(
        "answers 500 Internal Server Error, not 400",
        refusing(500, lambda request: request.path == "/createPod" and not request.pod),
    ),
    "a-body-that-is-no-pod-is-400-and-names-the-field": Fault(
        "the error does not name metadata.namespace",
        refusing_with(lambda _, reply: reply._replace(body=b"it is no pod")),
    ),
    "a-query-that-does-not-say-which-pod-is-400": Fault(
        "answers 404 Not Found, not 400",
        refusing(404, lambda request: request.path == "/getPod" and len(request.query) < 2),
    ),
    "an-error-says-what-is-wrong": Fault(
        "the body of GET /getPod is not JSON",
        refusing_with(lambda _, reply: reply._replace(body=b"<h1>Not Found</h1>")),
    ),
    "an-error-tells-no-secret": Fault(
        "the answer has it", refusing_with(lambda request, reply: reply._replace(body=request.body))
    ),
}

ACCESS = {
    "a-page-of-another-origin-may-not-write": Fault("it is answered with 200 OK", faulty.lets_every_page_write),
    "the-token-is-needed": Fault("GET /capacity answers 200 OK, not 401", fact("/capacity", FACTS["/capacity"])),
    "the-token-is-asked-for-as-http-does": Fault(
        "it is missing", refusing_with(lambda _, reply: reply._replace(headers={}))
    ),
}

CHANGES = {
    "all-statuses-come-at-once": Fault(
        "a pod that was created is not told",
        changing("/podStatuses", lambda reply: json_reply({**reply.data, "statuses": []})),
    ),
    "since-a-revision-only-what-has-changed-is-told": Fault(
        "a pod that was deleted is not told",
        changing("/podStatuses", lambda reply: json_reply({**reply.data, "deleted": []})),
    ),
    "it-is-held-open-until-something-changes": Fault("it is answered at once, with nothing", ignoring("wait")),
    "a-revision-that-is-no-number-is-400": Fault(
        "answers 200 OK, not 400", refusing(200, asking_for(since="soon"))
    ),
    "health-is-told-without-a-token": Fault(
        "GET /readyz answers 401 Unauthorized, not 200", refusing(401, on("/readyz"))
    ),
    "the-openapi-document-has-the-ten-paths": Fault(
        "/createPod, /updatePod", fact("/openapi.json", {"openapi": "3.1.0", "paths": {}})
    ),
}

FAULTS = {
    f"{group}.{name}": fault
    for group, faults in (
        ("node", NODE),
        ("reads", READS),
        ("writes", WRITES),
        ("statuses", STATUSES),
        ("logs", LOGS),
        ("http", HTTP),
        ("errors", ERRORS),
        ("access", ACCESS),
        ("changes", CHANGES),
    )
    for name, fault in faults.items()
}
"""By the name of the check that finds it."""
