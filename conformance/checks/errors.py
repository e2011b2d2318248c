"""Errors: status codes, messages, and secrets in messages."""

from conformance.check import at, code, expect, parsed, recommended
from conformance.client import ProviderClient, named
from conformance.wire import Answer

_VALUE = "the-value-of-a-variable"


@recommended
def malformed_json_returns_400(provider: ProviderClient) -> None:
    """A body that is not JSON returns 400.

    A 5xx means that the provider failed and the client retries; a 2xx means that the pod was created.
    """
    for body in (b"pod", b'{"metadata": {"name"', b""):
        code(provider.create(body), 400)


@recommended
def invalid_pod_returns_400_naming_the_field(provider: ProviderClient) -> None:
    """An empty namespace, name or list of containers returns 400, and the error names the field.

    The client learns which field is missing; it would repeat a request after a 5xx forever.
    """
    for field, empty in (("metadata.namespace", ""), ("metadata.name", ""), ("spec.containers", [])):
        pod = provider.pod()
        part, _, name = field.partition(".")
        pod[part][name] = empty
        answer = code(provider.create(pod), 400)
        expect(name in answer.body.decode(errors="replace"), f"the error does not name {field}", answer)


@recommended
def incomplete_query_returns_400(provider: ProviderClient) -> None:
    """`/getPod` and `/getPodStatus` without `namespace` or `name` return 400.

    A 404 means that the pod does not exist, and a broker would create it.
    """
    for path in ("/getPod", "/getPodStatus"):
        for missing in ("namespace", "name"):
            query = {**named(provider.pod()), missing: ""}
            code(provider.get(path, **query), 400)


@recommended
def error_has_a_code_and_a_message(provider: ProviderClient) -> None:
    """An error has the JSON body `{"error": {"code", "message"}}`.

    People read the message in the events of the pod, programs read the code.
    """
    query = {"namespace": provider.namespace, "name": "unknown", "podName": "unknown", "containerName": "web"}
    for path in ("/getPod", "/getPodStatus", "/getContainerLogs"):
        _expect_error(code(provider.get(path, **query), 404))


@recommended
def errors_contain_no_secrets(provider: ProviderClient) -> None:
    """No error contains a value of an environment variable of a pod.

    The broker resolves Secrets into the environment; errors are written to events and logs, which many people
    read.
    """
    env = [{"name": "PASSWORD", "value": _VALUE}]
    malformed = b'{"spec":{"containers":[{"env":[{"value":"%s"]}]}}' % _VALUE.encode()
    for body in (provider.pod("", container={"name": "", "env": env}), malformed):
        answer = provider.create(body)
        expect(_VALUE.encode() not in answer.body, "the response contains the value of a variable", answer)


def _expect_error(answer: Answer) -> None:
    problem = at(parsed(answer, dict), "error", dict, answer)
    expect(at(problem, "code", int, answer) == answer.code, "error.code differs from the status code", answer)
    expect(at(problem, "message", str, answer), "error.message is empty", answer)
