"""One fault for each check: the expected problem, and the faulty response."""

import json
from collections.abc import Callable
from typing import NamedTuple

from tests.conformance import faulty
from tests.conformance.faulty import (
    Faulty,
    changing,
    changing_errors,
    changing_log,
    changing_status,
    condition,
    ignoring,
    keyed_by,
    no_chunks,
    returning,
    returning_status,
    with_fields,
    with_started_at,
    with_status,
)
from tests.stub_provider import Reply, Request, json_reply
from tests.stub_provider.logs import WRITTEN_AT
from tests.stub_provider.provider import NODE_STATE


class Fault(NamedTuple):
    """A fault.

    Attributes:
        problem: part of the problem that the check must report.
        answer: function that returns the responses.
    """

    problem: str
    answer: Faulty


def on(path: str, method: str | None = None) -> Callable[[Request], bool]:
    """Match requests of a path and method."""
    return lambda request: request.path == path and method in (None, request.method)


def with_query(**query: str) -> Callable[[Request], bool]:
    """Match requests with these query parameters."""
    return lambda request: query.items() <= request.query.items()


def longer_than(size: int) -> Callable[[Request], bool]:
    """Match requests with a longer body."""
    return lambda request: len(request.content) > size


def body_containing(part: bytes, path: str = "/createPod") -> Callable[[Request], bool]:
    """Match requests whose body contains these bytes."""
    return lambda request: request.path == path and part in request.content


FAULTS = {
    "node.capacity-is-a-map-of-quantities": Fault(
        "the value of cpu is not a Kubernetes quantity", returning("/capacity", {"cpu": "much"})
    ),
    "node.capacity-has-cpu-memory-and-pods": Fault("missing: memory, pods", returning("/capacity", {"cpu": "1"})),
    "node.ready-condition-is-true": Fault("of Ready is not True", condition(status="true")),
    "node.condition-timestamps-have-a-time-zone": Fault(
        "lastHeartbeatTime is '2026-11-25T08:00:00'", condition(lastHeartbeatTime="2026-11-25T08:00:00")
    ),
    "node.last-transition-time-is-stable": Fault(
        "lastTransitionTime of Ready changed", faulty.changes_the_transition_time
    ),
    "node.addresses-are-a-list-of-node-addresses": Fault(
        "the type 'IP' is not one of", returning("/nodeAddresses", [{"type": "IP", "address": "127.0.0.1"}])
    ),
    "node.addresses-include-an-internal-ip": Fault(
        "no address has the type InternalIP", returning("/nodeAddresses", [])
    ),
    "node.each-node-is-described-by-name": Fault(
        "the effect 'Never' is not one of", returning("/node", {"taints": [{"key": "a", "effect": "Never"}]})
    ),
    "node.root-path-returns-200": Fault("GET / returns 404", returning_status(404, on("/"))),
    "reads.unknown-pod-returns-404-not-found": Fault(
        "the status is '404 NOT FOUND'", returning_status(404, on("/getPod"), "NOT FOUND")
    ),
    "reads.status-of-unknown-pod-returns-404-not-found": Fault(
        "the status is '204 No Content'", returning_status(204, on("/getPodStatus"))
    ),
    "reads.get-pod-returns-the-pod": Fault(
        "the spec differs from the pod that was sent", with_fields("/getPod", spec={"containers": []})
    ),
    "reads.get-pod-status-returns-the-status": Fault(
        "the phase 'running' is not one of", with_status(phase="running")
    ),
    "reads.get-pods-lists-the-pod": Fault(
        "the body of GET /getPods is an object, not an array",
        changing("/getPods", lambda reply: json_reply({"items": reply.data})),
    ),
    "reads.all-endpoints-report-the-same-status": Fault(
        "the statuses differ", with_fields("/getPodStatus", phase="Pending")
    ),
    "reads.namespaces-separate-pods-of-one-name": Fault("/getPods lists 0 of web", keyed_by(lambda _, name: name)),
    "reads.hyphenated-names-do-not-collide": Fault(
        "/getPods lists 0 of b-c", keyed_by(lambda namespace, name: f"{namespace}-{name}")
    ),
    "reads.long-list-is-complete": Fault(
        "the body of GET /getPods is not JSON",
        changing("/getPods", lambda reply: Reply(200, reply.text.encode()[:1_000_000])),
    ),
    "reads.managed-fields-are-omitted": Fault("/getPods returns managedFields", faulty.keeps_managed_fields),
    "reads.unknown-fields-are-preserved": Fault(
        "/getPods does not return a field that was sent",
        changing("/getPods", lambda reply: Reply(200, reply.text.replace("aFutureField", "gone").encode())),
    ),
    "reads.query-is-form-decoded": Fault("returns 404 Not Found, not 200", faulty.reads_plus_literally),
    "writes.create-returns-an-empty-body": Fault(
        "the body is not empty: 2 bytes", changing("/createPod", lambda _: Reply(200, b"OK"))
    ),
    "writes.update-returns-an-empty-body": Fault(
        "PUT /updatePod returns 404 Not Found", returning_status(404, on("/updatePod"))
    ),
    "writes.delete-returns-an-empty-body": Fault(
        "the response has no Content-Length: 0", changing("/deletePod", lambda _: Reply(200, no_chunks()))
    ),
    "writes.pod-from-the-original-broker-is-accepted": Fault(
        "POST /createPod returns 400 Bad Request",
        returning_status(400, body_containing(b'"creationTimestamp":null')),
    ),
    "writes.pod-without-a-status-is-accepted": Fault(
        "POST /createPod returns 500",
        returning_status(500, lambda request: request.path == "/createPod" and "status" not in request.pod),
    ),
    "writes.repeated-create-is-idempotent": Fault(
        "POST /createPod returns 409 Conflict", faulty.rejects_repeated_create
    ),
    "writes.create-with-another-uid-replaces-the-pod": Fault(
        "/getPods still returns the old pod", faulty.ignores_repeated_create
    ),
    "writes.update-is-read-back": Fault("the label has not changed", returning_status(200, on("/updatePod"))),
    "writes.reordered-env-leaves-the-status-unchanged": Fault(
        "the update changed these fields of the status: conditions, containerStatuses, startTime",
        faulty.restarts_at_every_update,
    ),
    "writes.status-in-a-request-is-ignored": Fault(
        "the status contains fields of the update: phase, reason, podIP, startTime, conditions",
        faulty.stores_the_status_of_an_update,
    ),
    "writes.delete-removes-only-the-given-pod": Fault(
        "the delete removed another pod", faulty.deletes_the_namespace
    ),
    "writes.delete-of-an-unknown-pod-returns-404": Fault(
        "returns 200 OK, not 404", returning_status(200, body_containing(b'"unknown"', "/deletePod"))
    ),
    "writes.delete-with-another-uid-returns-404": Fault("the delete removed the pod", faulty.deletes_by_name),
    "writes.update-of-an-unknown-pod-returns-404": Fault("the update created the pod", faulty.creates_on_update),
    "statuses.running-pod-becomes-ready": Fault(
        "the phase is Running, Ready is true", with_status(conditions=[{"type": "Ready", "status": "true"}])
    ),
    "statuses.timestamps-have-a-time-zone": Fault(
        "startTime is '2026-11-25T08:00:00'", with_status(startTime="2026-11-25T08:00:00")
    ),
    "statuses.timestamps-are-whole-seconds": Fault(
        "startedAt is '2026-11-25T08:00:00.123Z'", with_started_at(lambda: "2026-11-25T08:00:00.123Z")
    ),
    "statuses.timestamps-are-stable": Fault("changed within a second: startedAt", with_started_at(faulty.now)),
    "statuses.status-has-a-start-time": Fault("startTime is missing", with_status(startTime=None)),
    "statuses.every-container-has-one-status": Fault(
        "restartCount is missing",
        changing_status(lambda status: status["containerStatuses"][0].pop("restartCount")),
    ),
    "statuses.exceeded-deadline-ends-the-pod": Fault(
        "the pod runs after its deadline", with_status(phase="Running")
    ),
    "statuses.running-pod-has-a-pod-ip": Fault("podIP is missing", with_status(podIP=None)),
    "logs.log-is-plain-text": Fault("the body is JSON", changing_log(json.dumps, "tail")),
    "logs.log-content-type-is-plain-text": Fault(
        "the Content-Type is text/html",
        changing("/getContainerLogs", lambda reply: reply._replace(headers={"Content-Type": "text/html"})),
    ),
    "logs.tail-returns-the-last-lines": Fault("tail=1 returns 5 of 5 lines", ignoring("tail")),
    "logs.tail-0-returns-no-lines": Fault("tail=0 returns 35 bytes", ignoring("tail")),
    "logs.missing-or-negative-tail-returns-all-lines": Fault(
        "tail=-1 returns another log than no tail", changing_log(lambda text: text[-7:], "tail")
    ),
    "logs.invalid-tail-returns-400": Fault("returns 200 OK, not 400", ignoring("tail")),
    "logs.log-of-unknown-pod-or-container-returns-404": Fault(
        "returns 200 OK, not 404", returning_status(200, with_query(containerName="unknown"))
    ),
    "logs.timestamps-prefix-each-line": Fault(
        "a line begins with '1764057600'",
        changing_log(lambda text: text.replace(WRITTEN_AT, "1764057600"), "timestamps"),
    ),
    "logs.limit-bytes-truncates-the-log": Fault(
        "limitBytes=3 returns 2 bytes", changing_log(lambda text: text[:2], "limitBytes")
    ),
    "logs.since-omits-older-lines": Fault(
        "a sinceTime in the future returns lines", changing_log(lambda _: "line 5\n", "sinceTime")
    ),
    "logs.previous-without-an-earlier-run-returns-400": Fault(
        "returns 500 Internal Server Error, not 400", returning_status(500, with_query(previous="true"))
    ),
    "logs.follow-ends-when-the-pod-is-deleted": Fault(
        "the response is still open after the pod was deleted", faulty.follows_forever
    ),
    "logs.invalid-log-options-return-400": Fault(
        "returns 200 OK, not 400", returning_status(200, with_query(limitBytes="0"))
    ),
    "http.no-endpoint-redirects": Fault(
        "GET /capacity returns 301 Moved Permanently", returning_status(301, on("/capacity"))
    ),
    "http.double-slash-paths-are-served": Fault(
        "POST //createPod returns 308", returning_status(308, on("//createPod"))
    ),
    "http.headers-of-the-original-broker-are-accepted": Fault(
        "GET /getPods returns 400 Bad Request",
        returning_status(400, lambda request: request.method == "GET" and "content-type" in request.headers),
    ),
    "http.connection-stays-open": Fault(
        "the provider closes the connection after a write",
        changing("/createPod", lambda _: Reply(200, headers={"Connection": "close"})),
    ),
    "http.wrong-method-returns-405": Fault(
        "GET /createPod returns 200 OK, not 405", returning_status(200, on("/createPod", "GET"))
    ),
    "http.large-pod-is-accepted": Fault(
        "POST /createPod returns 413", returning_status(413, longer_than(100_000))
    ),
    "http.oversized-body-returns-413": Fault(
        "returns 500 Internal Server Error, not 413", returning_status(500, longer_than(2_000_000))
    ),
    "errors.malformed-json-returns-400": Fault(
        "returns 500 Internal Server Error, not 400",
        returning_status(500, lambda request: request.path == "/createPod" and not request.pod),
    ),
    "errors.invalid-pod-returns-400-naming-the-field": Fault(
        "the error does not name metadata.namespace",
        changing_errors(lambda _, reply: reply._replace(body=b"it is no pod")),
    ),
    "errors.incomplete-query-returns-400": Fault(
        "returns 404 Not Found, not 400",
        returning_status(404, lambda request: request.path == "/getPod" and not all(request.query.values())),
    ),
    "errors.error-has-a-code-and-a-message": Fault(
        "the body of GET /getPod is not JSON",
        changing_errors(lambda _, reply: reply._replace(body=b"<h1>Not Found</h1>")),
    ),
    "errors.errors-contain-no-secrets": Fault(
        "the response contains the value of a variable",
        changing_errors(lambda request, reply: reply._replace(body=request.content)),
    ),
    "access.cross-origin-write-is-refused": Fault("the write returns 200 OK", faulty.accepts_every_origin),
    "access.token-is-required": Fault(
        "GET /capacity returns 200 OK, not 401", returning("/capacity", NODE_STATE["/capacity"])
    ),
    "access.unauthorized-response-has-www-authenticate": Fault(
        "WWW-Authenticate is missing", changing_errors(lambda _, reply: reply._replace(headers={}))
    ),
    "extensions.extensions-is-a-map-of-versions": Fault(
        "the version of podStatuses is not a positive integer", returning("/extensions", {"podStatuses": True})
    ),
    "extensions.named-extensions-exist": Fault(
        "GET /podStatuses returns 404 Not Found, not 200", returning_status(404, on("/podStatuses"))
    ),
    "changes.revision-0-returns-all-statuses": Fault(
        "a created pod is not reported", with_fields("/podStatuses", statuses=[])
    ),
    "changes.since-returns-only-later-changes": Fault(
        "a deleted pod is not reported", with_fields("/podStatuses", deleted=[])
    ),
    "changes.wait-holds-the-request-until-a-change": Fault(
        "the response comes at once, without a change", ignoring("wait")
    ),
    "changes.invalid-revision-returns-400": Fault(
        "returns 200 OK, not 400", returning_status(200, with_query(since="soon"))
    ),
    "changes.health-endpoints-need-no-token": Fault(
        "GET /readyz returns 401 Unauthorized, not 200", returning_status(401, on("/readyz"))
    ),
    "changes.openapi-document-lists-the-ten-paths": Fault(
        "missing: /createPod, /updatePod", returning("/openapi.json", {"openapi": "3.1.0", "paths": {}})
    ),
    "deletion.deleted-pod-is-reported-until-its-end": Fault("returns 404 Not Found, not 200", faulty.ends_at_once),
    "deletion.deleted-entry-has-the-last-status": Fault(
        "status is null, not an object",
        changing(
            "/podStatuses",
            lambda reply: json_reply(
                {**reply.data, "deleted": [{**entry, "status": None} for entry in reply.data["deleted"]]}
            ),
        ),
    ),
    "deletion.repeated-delete-succeeds": Fault(
        "DELETE /deletePod returns 409 Conflict", faulty.rejects_repeated_delete
    ),
    "deletion.later-delete-shortens-the-grace-period": Fault(
        "/getPods still lists the pod", faulty.ignores_shorter_grace
    ),
    "deletion.another-uid-starts-after-the-end": Fault(
        "the new pod runs before the old one has ended", faulty.starts_beside_the_ending_pod
    ),
    "deletion.create-does-not-cancel-a-deletion": Fault("/getPods still lists the pod", faulty.cancels_a_deletion),
    "environments.unresolved-environment-holds-one-container": Fault(
        "the container does not wait; the reason is None", faulty.runs_every_container
    ),
    "environments.update-with-the-environment-starts-the-container": Fault(
        "containerStatuses does not show every container as running", returning_status(200, on("/updatePod"))
    ),
    "batches.batch-creates-and-deletes-its-pods": Fault(
        "/getPodStatus returns 404", faulty.creates_only_the_first
    ),
    "batches.outcomes-are-in-the-order-of-the-items": Fault(
        "the code of an invalid pod is 200, not 400",
        changing("/createPods", lambda reply: json_reply(reply.data[::-1])),
    ),
    "batches.repeated-batch-is-idempotent": Fault("the code of a valid pod is 409", faulty.rejects_repeated_batch),
    "batches.batch-that-is-not-an-array-returns-400": Fault(
        "POST /createPods returns 200 OK, not 400",
        returning_status(200, lambda request: request.path == "/createPods" and request.content[:1] == b"{"),
    ),
    "usage.usage-lists-the-running-containers": Fault(
        "the containers are none", faulty.changing_usage(lambda entry: entry.update(containers=[]))
    ),
    "usage.usage-has-times-and-numbers": Fault(
        "cpu.time is not in RFC 3339 format",
        faulty.changing_usage(lambda entry: entry["cpu"].update(time="2026-11-22 08:46")),
    ),
    "usage.pod-usage-is-the-sum-of-its-containers": Fault(
        "cpu.usageNanoCores of the pod is not the sum",
        faulty.changing_usage(lambda entry: entry["cpu"].update(usageNanoCores=1)),
    ),
    "usage.total-usage-never-falls": Fault(
        "the total falls",
        faulty.changing_usage(
            lambda entry: entry["cpu"].update(usageCoreNanoSeconds=10**15 - entry["cpu"]["usageCoreNanoSeconds"])
        ),
    ),
    "usage.usage-of-the-machine-has-times-and-numbers": Fault(
        "memory.availableBytes is negative",
        faulty.changing_machine(lambda found: found["memory"].update(availableBytes=-1)),
    ),
    "usage.deleted-pod-has-no-usage": Fault("/podStats has an entry for the deleted pod", faulty.keeps_usage),
    "volumes.volumes-are-accepted-before-the-pod": Fault(
        "PUT /podVolumes returns 404 Not Found", returning_status(404, on("/podVolumes"), "Not Found")
    ),
    "volumes.volumes-of-a-running-pod-can-change": Fault(
        "PUT /podVolumes returns 400 Bad Request",
        returning_status(400, body_containing(b"other/name", "/podVolumes")),
    ),
    "volumes.invalid-volumes-return-400": Fault(
        "PUT /podVolumes returns 200 OK, not 400", returning_status(200, on("/podVolumes"))
    ),
    "streams.exec-returns-output-and-exit-code": Fault(
        "no Status arrives on channel 3", faulty.changing_stream(lambda data: data if data[0] != 3 else None)
    ),
    "streams.closed-input-ends-a-command": Fault(
        "the Status is Failure, not Success",
        faulty.changing_stream(lambda data: data.replace(b"Success", b"Failure")),
    ),
    "streams.exec-in-an-unknown-pod-returns-404": Fault(
        "GET /exec returns 500 Internal Server Error, not 404", returning_status(500, on("/exec"))
    ),
    "streams.exec-without-a-command-returns-400": Fault(
        "GET /exec returns 404 Not Found, not 400", returning_status(404, on("/exec"))
    ),
}
"""Check name → fault that the check must detect."""
