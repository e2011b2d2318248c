"""Streams: `/exec`."""

import json

from conformance.check import Failed, at, code, expect, extension, parsed
from conformance.checks.extensions import require
from conformance.client import ProviderClient
from conformance.pods import created, started
from conformance.streams import STATUS, STDOUT, Session, execute, refused


@extension
def exec_returns_output_and_exit_code(provider: ProviderClient) -> None:
    """Output arrives on channel 1 and the exit code in the Status on channel 3; then the WebSocket closes.

    `kubectl exec` ends with that code. An end without a Status is an error of the connection.
    """
    session = _execute(provider, "sh", "-c", "echo out; exit 3")
    expect(session.data.get(STDOUT) == b"out\n", "the output is not that of the command", session.answer)
    status = _status(session)
    expect(at(status, "status", str, session.answer) == "Failure", "the Status is not a Failure", session.answer)
    reason = at(status, "reason", str, session.answer)
    expect(reason == "NonZeroExitCode", f"the reason is {reason}, not NonZeroExitCode", session.answer)
    causes = at(status, "details.causes", list, session.answer)
    expect({"reason": "ExitCode", "message": "3"} in causes, "no cause has the exit code", session.answer)
    expect(session.code == 1000, f"the WebSocket is closed with {session.code}, not 1000", session.answer)


@extension
def closed_input_ends_a_command(provider: ProviderClient) -> None:
    """The message 255, 0 closes standard input; a command that reads to its end then ends with Success.

    `kubectl cp` and `kubectl exec -i` with a pipe depend on it.
    """
    session = _execute(provider, "cat", typed=b"typed")
    expect(session.data.get(STDOUT) == b"typed", "the output of cat is not its input", session.answer)
    outcome = at(_status(session), "status", str, session.answer)
    expect(outcome == "Success", f"the Status is {outcome}, not Success", session.answer)


@extension
def exec_in_an_unknown_pod_returns_404(provider: ProviderClient) -> None:
    """A stream of a pod that does not exist is refused before the upgrade, with 404 and a JSON error.

    The broker answers its own client when the provider has accepted; a later failure is not shown to the user.
    """
    require(provider, "streams")
    answer = code(refused(provider, provider.pod("none"), "true"), 404)
    at(parsed(answer, dict), "error.message", str, answer)


@extension
def exec_without_a_command_returns_400(provider: ProviderClient) -> None:
    """`/exec` without `command` is refused before the upgrade, with 400 and a JSON error.

    A request that is not valid must not become a session.
    """
    require(provider, "streams")
    pod = created(provider, provider.pod())
    started(provider, pod)
    answer = code(refused(provider, pod), 400)
    at(parsed(answer, dict), "error.message", str, answer)


def _execute(provider: ProviderClient, *command: str, typed: bytes | None = None) -> Session:
    require(provider, "streams")
    pod = created(provider, provider.pod())
    started(provider, pod)
    return execute(provider, pod, *command, typed=typed)


def _status(session: Session) -> object:
    try:
        return json.loads(session.data.get(STATUS, b""))
    except ValueError:
        raise Failed("no Status arrives on channel 3", session.answer) from None
