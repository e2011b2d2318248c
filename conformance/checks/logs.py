"""Logs: `/getContainerLogs`, with the parameter of the contract and those of its extensions."""

import re
from urllib.parse import urlencode

from conformance.check import Failed, NotOffered, code, expect, extension, recommended, required, success
from conformance.pods import created, started
from conformance.provider import PodJSON, Provider, patiently
from conformance.times import is_rfc3339
from conformance.wire import Answer

_FUTURE, _PAST = "2099-01-01T00:00:00Z", "2001-01-01T00:00:00Z"


@required
def a_log_is_plain_text(provider: Provider) -> None:
    """`/getContainerLogs` answers 200 and the lines as they were written.

    `kubectl logs` shows the body as it is: of a JSON string, somebody would read the escapes.
    """
    pod = _running(provider)
    _whole(provider, pod)
    answer = _log(provider, pod, tail=10)
    expect(not answer.body.startswith((b'"', b"[", b"{")), "the body is JSON", answer)


@recommended
def a_log_says_that_it_is_plain_text(provider: Provider) -> None:
    """The `Content-Type` of a log is `text/plain; charset=utf-8`.

    A browser takes what is called HTML for HTML, whatever a container has written.
    """
    pod = _running(provider)
    for tail in (10, 0):
        said = _log(provider, pod, tail=tail).header("Content-Type") or "missing"
        expect(re.fullmatch(r"text/plain; ?charset=utf-8", said, re.IGNORECASE), f"it is {said}")


@required
def tail_gives_the_last_lines(provider: Provider) -> None:
    """`tail=1` gives the last line, `tail=2` the last two, a large one all.

    The original broker always sends it, 10 where `kubectl logs` has none. Ignored, each look at a log carries all
    of it.
    """
    pod = _running(provider)
    lines = _whole(provider, pod).splitlines()
    for tail in (1, 2, 10_000):
        given = _log(provider, pod, tail=tail).body.splitlines()
        expect(given == lines[-tail:], f"of {len(lines)} lines, tail={tail} gives {len(given)}")


@required
def a_tail_of_0_gives_nothing(provider: Provider) -> None:
    """`tail=0` gives no line, and 200.

    `kubectl logs --tail=0` asks for it.
    """
    pod = _running(provider)
    expect(_whole(provider, pod), "the log is empty")
    answer = _log(provider, pod, tail=0)
    expect(not answer.body, f"it gives {len(answer.body)} bytes", answer)


@recommended
def a_tail_that_is_missing_or_negative_gives_all(provider: Provider) -> None:
    """Without `tail`, or with a negative one, every line is given.

    `kubectl logs --tail=-1` asks for it.
    """
    pod = _running(provider)
    whole = _whole(provider, pod)
    answer = _log(provider, pod, tail=-1)
    expect(answer.body == whole, "tail=-1 gives another log than no tail", answer)
    expect(len(whole.splitlines()) > 1, "without a tail it gives one line at most", answer)


@recommended
def a_tail_that_is_no_number_is_400(provider: Provider) -> None:
    """A `tail` that is no whole number is answered with 400.

    Who has misspelt it is told, and does not read another part of the log than was meant.
    """
    code(provider.get("/getContainerLogs", **_query(_running(provider)), tail="ten"), 400)


@required
def a_log_of_an_unknown_pod_or_container_is_404(provider: Provider) -> None:
    """`/getContainerLogs` of an unknown pod, or of an unknown container of a pod, answers 404.

    `kubectl logs` says then what is not there. With 200 it shows an empty log of a container that never was.
    """
    query = _query(created(provider, provider.pod()))
    for unknown in ("podName", "containerName"):
        code(provider.get("/getContainerLogs", **{**query, unknown: "nobody"}, tail=10), 404)


@extension
def timestamps_begin_each_line(provider: Provider) -> None:
    """With `timestamps=true`, each line begins with its time in RFC 3339.

    `kubectl logs --timestamps` shows nothing of the kind otherwise.
    """
    pod = _running(provider)
    plain = _whole(provider, pod)
    with_times = _changed(_log(provider, pod, timestamps="true"), plain, "timestamps")
    parts = [line.partition(b" ") for line in with_times.body.splitlines()]
    expect([text for _, _, text in parts] == plain.splitlines(), "a line is not its time, a space, itself")
    times = [time.decode(errors="replace") for time, _, _ in parts]
    expect(all(map(is_rfc3339, times)), f"a line begins with {times[0]!r}")


@extension
def limit_bytes_cuts_the_log(provider: Provider) -> None:
    """`limitBytes` gives no more than so many bytes.

    `kubectl logs --limit-bytes` relies on it.
    """
    pod = _running(provider)
    plain = _whole(provider, pod)
    answer = _changed(_log(provider, pod, limitBytes=3), plain, "limitBytes")
    expect(answer.body == plain[:3], f"of 3 bytes it gives {len(answer.body)}")


@extension
def since_leaves_out_what_is_older(provider: Provider) -> None:
    """`sinceTime` gives the lines from then on, `sinceSeconds` those of the last so many seconds.

    `kubectl logs --since` and `--since-time` rely on them.
    """
    pod = _running(provider)
    plain = _whole(provider, pod)
    answer = _changed(_log(provider, pod, sinceTime=_FUTURE), plain, "sinceTime")
    expect(not answer.body, "there are lines from the future")
    for query in ({"sinceTime": _PAST}, {"sinceSeconds": 10**8}):
        answer = _log(provider, pod, **query)
        expect(answer.body == plain, f"with {query} lines are missing", answer)


@extension
def previous_is_400_where_there_was_no_run_before(provider: Provider) -> None:
    """`previous=true` gives the run before this one; where there was none, 400.

    `kubectl logs --previous` shows the wrong run otherwise.
    """
    pod = _running(provider)
    _whole(provider, pod)
    answer = provider.get("/getContainerLogs", **_query(pod), previous="true")
    if answer.code == 200:
        raise NotOffered("previous is ignored")
    code(answer, 400)


@extension
def follow_goes_on_until_the_pod_is_gone(provider: Provider) -> None:
    """With `follow=true` the answer has what is there, stays open, and ends when the pod does.

    `kubectl logs --follow` hangs on a pod that is gone, or ends at once, otherwise.
    """
    pod = _running(provider)
    plain = _whole(provider, pod)
    with provider.connect() as connection:
        request = provider.prepare("GET", f"/getContainerLogs?{urlencode(_query(pod))}&follow=true")
        connection.send_request(request)
        head = connection.receive_head()._replace(request=request)
        expect(head.code == 200, f"with follow=true the answer is {head.status}", head)
        if head.header("Content-Length") is not None:
            raise NotOffered("follow is ignored: the answer has an end from the beginning")
        pieces = connection.pieces(head)
        begun = next(pieces, b"")
        while len(begun) < len(plain) or connection.has_answer(within=0.3):
            if not (piece := next(pieces, b"")):
                raise NotOffered("follow is ignored: the answer ends with what is there")
            begun += piece
        expect(begun.startswith(plain), "what was written before is not at its beginning", head)
        success(provider.delete(pod))
        try:
            list(pieces)
        except TimeoutError:
            raise Failed("it is still open after the pod is gone", head) from None


@extension
def what_cannot_be_meant_is_400(provider: Provider) -> None:
    """`limitBytes=0`, `sinceSeconds=0`, a `sinceTime` without a zone, both of the last two: 400.

    Kubernetes refuses them too; ignored, somebody reads another part of a log than was meant.
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


def _running(provider: Provider) -> PodJSON:
    pod = created(provider, provider.pod())
    started(provider, pod)
    return pod


def _query(pod: PodJSON) -> dict[str, str]:
    metadata = pod["metadata"]
    return {"namespace": metadata["namespace"], "podName": metadata["name"], "containerName": "web"}


def _log(provider: Provider, pod: PodJSON, **query: object) -> Answer:
    return success(provider.get("/getContainerLogs", **_query(pod), **query))


def _whole(provider: Provider, pod: PodJSON) -> bytes:
    """Give the whole log, when there are at least two lines and no more are coming."""

    def settled() -> bytes | None:
        before, after = (_log(provider, pod).body for _ in range(2))
        return after if before == after and len(after.splitlines()) > 1 else None

    found = patiently(settled)
    if found is None:
        raise Failed("there are no two lines in the log of a container that has written five")
    return found


def _changed(answer: Answer, plain: bytes, parameter: str) -> Answer:
    """Go on only where a parameter makes a difference: a provider that has no such parameter ignores it."""
    if answer.body == plain:
        raise NotOffered(f"{parameter} is ignored")
    return answer
