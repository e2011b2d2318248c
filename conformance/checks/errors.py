"""Errors: what is refused, and in which words."""

from conformance.check import at, code, expect, parsed, recommended
from conformance.provider import Provider, named
from conformance.wire import Answer

_VALUE = "the-value-of-a-variable"


@recommended
def a_body_that_is_no_json_is_400(provider: Provider) -> None:
    """A body that is no JSON is answered with 400.

    A 5xx says that the provider is at fault, and to come again; 2xx says that there is a pod.
    """
    for body in (b"pod", b'{"metadata": {"name"', b""):
        code(provider.create(body), 400)


@recommended
def a_body_that_is_no_pod_is_400_and_names_the_field(provider: Provider) -> None:
    """An empty namespace, name or list of containers is answered with 400, and the error names the field.

    Who has sent it finds out what is missing; a 5xx is repeated for ever.
    """
    for field, empty in (("metadata.namespace", ""), ("metadata.name", ""), ("spec.containers", [])):
        pod = provider.pod()
        part, _, name = field.partition(".")
        pod[part][name] = empty
        answer = code(provider.create(pod), 400)
        expect(name in answer.body.decode(errors="replace"), f"the error does not name {field}", answer)


@recommended
def a_query_that_does_not_say_which_pod_is_400(provider: Provider) -> None:
    """`/getPod` and `/getPodStatus` without `namespace` or `name` answer 400.

    404 would say that the pod is not there, and a broker creates it.
    """
    for path in ("/getPod", "/getPodStatus"):
        for missing in ("namespace", "name"):
            query = {**named(provider.pod()), missing: ""}
            code(provider.get(path, **query), 400)


@recommended
def an_error_says_what_is_wrong(provider: Provider) -> None:
    """An error has the body `{"error": {"code", "message"}}`, in JSON.

    People read the message in the events of the pod, and programs the code.
    """
    query = {"namespace": provider.namespace, "name": "nobody", "podName": "nobody", "containerName": "web"}
    for path in ("/getPod", "/getPodStatus", "/getContainerLogs"):
        _expect_error(code(provider.get(path, **query), 404))


@recommended
def an_error_tells_no_secret(provider: Provider) -> None:
    """No error quotes a value from the environment of a pod.

    Secrets are resolved into it before the pod is sent; errors end up in events and logs that many read.
    """
    env = [{"name": "PASSWORD", "value": _VALUE}]
    no_json = b'{"spec":{"containers":[{"env":[{"value":"%s"]}]}}' % _VALUE.encode()
    for body in (provider.pod("", container={"name": "", "env": env}), no_json):
        answer = provider.create(body)
        expect(_VALUE.encode() not in answer.body, "the answer has it", answer)


def _expect_error(answer: Answer) -> None:
    problem = at(parsed(answer, dict), "error", dict, answer)
    expect(at(problem, "code", int, answer) == answer.code, "the code in it is another", answer)
    expect(at(problem, "message", str, answer), "the message is empty", answer)
