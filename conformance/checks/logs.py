"""Logs: `/getContainerLogs`, with the parameter of the contract and those of its extensions."""

import re
from urllib.parse import urlencode

from conformance.check import Failed, NotOffered, code, expect, extension, recommended, required, success
from conformance.client import PodJSON, ProviderClient, wait_until
from conformance.pods import created, started
from conformance.times import is_rfc3339
from conformance.wire import Answer

_FUTURE, _PAST = "2099-01-01T00:00:00Z", "2001-01-01T00:00:00Z"


@required
def log_is_plain_text(provider: ProviderClient) -> None:
    """`/getContainerLogs` returns 200 and the lines as the container wrote them.

    `kubectl logs` prints the body unchanged: a JSON string would be shown with its escapes.
    """
    pod = _running(provider)
    _whole(provider, pod)
    answer = _log(provider, pod, tail=10)
    expect(not answer.body.startswith((b'"', b"[", b"{")), "the body is JSON, not plain text", answer)


@recommended
def log_content_type_is_plain_text(provider: ProviderClient) -> None:
    """The `Content-Type` of a log is `text/plain; charset=utf-8`.

    A browser renders a log that is labelled as HTML, with any markup that the container wrote.
    """
    pod = _running(provider)
    for tail in (10, 0):
        content_type = _log(provider, pod, tail=tail).header("Content-Type") or "missing"
        is_plain = re.fullmatch(r"text/plain; ?charset=utf-8", content_type, re.IGNORECASE)
        expect(is_plain, f"the Content-Type is {content_type}")


@required
def tail_returns_the_last_lines(provider: ProviderClient) -> None:
    """`tail=1` returns the last line, `tail=2` the last two, a large number all lines.

    The original broker always sends `tail`, 10 if `kubectl logs` specifies none. If it is ignored, each request
    transfers the whole log.
    """
    pod = _running(provider)
    lines = _whole(provider, pod).splitlines()
    for tail in (1, 2, 10_000):
        given = _log(provider, pod, tail=tail).body.splitlines()
        expect(given == lines[-tail:], f"tail={tail} returns {len(given)} of {len(lines)} lines")


@required
def tail_0_returns_no_lines(provider: ProviderClient) -> None:
    """`tail=0` returns 200 and no line.

    `kubectl logs --tail=0` sends it.
    """
    pod = _running(provider)
    expect(_whole(provider, pod), "the log is empty")
    answer = _log(provider, pod, tail=0)
    expect(not answer.body, f"tail=0 returns {len(answer.body)} bytes", answer)


@recommended
def missing_or_negative_tail_returns_all_lines(provider: ProviderClient) -> None:
    """Without `tail`, or with a negative one, all lines are returned.

    `kubectl logs --tail=-1` sends it.
    """
    pod = _running(provider)
    whole = _whole(provider, pod)
    answer = _log(provider, pod, tail=-1)
    expect(answer.body == whole, "tail=-1 returns another log than no tail", answer)
    expect(len(whole.splitlines()) > 1, "the log without tail has fewer than two lines", answer)


@recommended
def invalid_tail_returns_400(provider: ProviderClient) -> None:
    """A `tail` that is not an integer returns 400.

    The client learns of the mistake, and does not read a different part of the log than intended.
    """
    code(provider.get("/getContainerLogs", **_query(_running(provider)), tail="ten"), 400)


@required
def log_of_unknown_pod_or_container_returns_404(provider: ProviderClient) -> None:
    """`/getContainerLogs` of an unknown pod, or of an unknown container of a pod, returns 404.

    `kubectl logs` then reports the missing pod or container. With 200 it shows an empty log of a container that
    does not exist.
    """
    query = _query(created(provider, provider.pod()))
    for unknown in ("podName", "containerName"):
        code(provider.get("/getContainerLogs", **{**query, unknown: "unknown"}, tail=10), 404)


@extension
def timestamps_prefix_each_line(provider: ProviderClient) -> None:
    """With `timestamps=true`, each line begins with its timestamp in RFC 3339 format.

    Otherwise, `kubectl logs --timestamps` shows no timestamps.
    """
    pod = _running(provider)
    plain = _whole(provider, pod)
    stamped = _changed(_log(provider, pod, timestamps="true"), plain, "timestamps")
    parts = [line.partition(b" ") for line in stamped.body.splitlines()]
    expect([text for _, _, text in parts] == plain.splitlines(), "a line is not timestamp, space and line")
    times = [time.decode(errors="replace") for time, _, _ in parts]
    expect(all(map(is_rfc3339, times)), f"a line begins with {times[0]!r}, not a timestamp")


@extension
def limit_bytes_truncates_the_log(provider: ProviderClient) -> None:
    """`limitBytes` limits the size of the log in bytes.

    `kubectl logs --limit-bytes` relies on it.
    """
    pod = _running(provider)
    plain = _whole(provider, pod)
    answer = _changed(_log(provider, pod, limitBytes=3), plain, "limitBytes")
    expect(answer.body == plain[:3], f"limitBytes=3 returns {len(answer.body)} bytes")


@extension
def since_omits_older_lines(provider: ProviderClient) -> None:
    """`sinceTime` returns the lines from that time on, `sinceSeconds` the lines of that many last seconds.

    `kubectl logs --since` and `--since-time` rely on them.
    """
    pod = _running(provider)
    plain = _whole(provider, pod)
    answer = _changed(_log(provider, pod, sinceTime=_FUTURE), plain, "sinceTime")
    expect(not answer.body, "a sinceTime in the future returns lines")
    for query in ({"sinceTime": _PAST}, {"sinceSeconds": 10**8}):
        answer = _log(provider, pod, **query)
        expect(answer.body == plain, f"lines are missing with {query}", answer)


@extension
def previous_without_an_earlier_run_returns_400(provider: ProviderClient) -> None:
    """`previous=true` returns the log of the previous run of the container; 400 if there was none.

    Otherwise, `kubectl logs --previous` shows the wrong run.
    """
    pod = _running(provider)
    _whole(provider, pod)
    answer = provider.get("/getContainerLogs", **_query(pod), previous="true")
    if answer.code == 200:
        raise NotOffered("previous is ignored")
    code(answer, 400)


@extension
def follow_ends_when_the_pod_is_deleted(provider: ProviderClient) -> None:
    """With `follow=true` the response contains the existing lines, stays open, and ends when the pod is deleted.

    Otherwise, `kubectl logs --follow` hangs after the pod is deleted, or ends at once.
    """
    pod = _running(provider)
    plain = _whole(provider, pod)
    with provider.connect() as connection:
        request = provider.prepare("GET", f"/getContainerLogs?{urlencode(_query(pod))}&follow=true")
        connection.send_request(request)
        head = connection.receive_head()._replace(request=request)
        expect(head.code == 200, f"follow=true returns {head.status}", head)
        if head.header("Content-Length") is not None:
            raise NotOffered("follow is ignored: the response has a Content-Length")
        pieces = connection.pieces(head)
        received = next(pieces, b"")
        while len(received) < len(plain) or connection.has_answer(within=0.3):
            if not (piece := next(pieces, b"")):
                raise NotOffered("follow is ignored: the response ends after the existing lines")
            received += piece
        expect(received.startswith(plain), "the response does not begin with the existing lines", head)
        success(provider.delete(pod))
        try:
            list(pieces)
        except TimeoutError:
            raise Failed("the response is still open after the pod was deleted", head) from None


@extension
def invalid_log_options_return_400(provider: ProviderClient) -> None:
    """`limitBytes=0`, `sinceSeconds=0`, a `sinceTime` without a zone and both since options together return 400.

    Kubernetes rejects them too. If they are ignored, the client reads a different part of the log than intended.
    """
    pod = _running(provider)
    _changed(_log(provider, pod, limitBytes=1), _whole(provider, pod), "limitBytes")
    for query in (
        {"limitBytes": "0"},
        {"sinceSeconds": "0"},
        {"sinceTime": "2026-11-22T08:46:38"},
        {"sinceTime": _PAST, "sinceSeconds": "10"},
    ):
        code(provider.get("/getContainerLogs", **_query(pod), **query), 400)


def _running(provider: ProviderClient) -> PodJSON:
    pod = created(provider, provider.pod())
    started(provider, pod)
    return pod


def _query(pod: PodJSON) -> dict[str, str]:
    metadata = pod["metadata"]
    return {"namespace": metadata["namespace"], "podName": metadata["name"], "containerName": "web"}


def _log(provider: ProviderClient, pod: PodJSON, **query: object) -> Answer:
    return success(provider.get("/getContainerLogs", **_query(pod), **query))


def _whole(provider: ProviderClient, pod: PodJSON) -> bytes:
    """Return the whole log, once it has at least two lines and no longer grows."""

    def unchanged() -> bytes | None:
        before, after = (_log(provider, pod).body for _ in range(2))
        return after if before == after and len(after.splitlines()) > 1 else None

    found = wait_until(unchanged)
    if found is None:
        raise Failed("the log has fewer than two lines; the container wrote five")
    return found


def _changed(answer: Answer, plain: bytes, parameter: str) -> Answer:
    """Return the answer; raise NotOffered if the log equals the one without the parameter: it is ignored."""
    if answer.body == plain:
        raise NotOffered(f"{parameter} is ignored")
    return answer
