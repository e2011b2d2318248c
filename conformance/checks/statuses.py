"""What a status says: phases, conditions, containers, times."""

from typing import Any

from conformance.check import Failed, at, expect, recommended, required
from conformance.pods import conditions, created, started, status
from conformance.provider import Provider, let_a_second_pass, patiently
from conformance.times import instant, is_rfc3339, times_in


@required
def a_running_pod_becomes_ready(provider: Provider) -> None:
    """A pod whose containers run has the phase `Running` and the condition `Ready` with the status `True`.

    Services and Deployments wait for it. Kubernetes knows `True`, `False` and `Unknown`, in this spelling, and
    stores any other: the pod is then never ready.
    """
    pod = created(provider, provider.pod())
    started(provider, pod)

    def is_ready() -> bool:
        found = status(provider, pod)
        return at(found, "phase", str) == "Running" and conditions(found).get("Ready") == "True"

    if not patiently(is_ready):
        found = status(provider, pod)
        raise Failed(f"the phase is {found['phase']}, Ready is {conditions(found).get('Ready', 'missing')}")


@required
def times_have_a_zone(provider: Provider) -> None:
    """Every time in a status is RFC 3339 with a zone: `2026-11-22T08:46:38Z`.

    Go cannot read any other, and with it none of the status.
    """
    for field, time in times_in(_started(provider)):
        expect(is_rfc3339(time), f"{field} is {time!r}")


@recommended
def times_are_whole_seconds(provider: Provider) -> None:
    """Times are in whole seconds.

    Kubernetes stores no more: with a fraction, what is stored never equals what the provider tells.
    """
    for field, time in times_in(_started(provider)):
        read = instant(str(time))
        expect(read is None or not read.microsecond, f"{field} is {time!r}")


@recommended
def times_stand_still(provider: Provider) -> None:
    """`startTime`, `startedAt` and `lastTransitionTime` move only when what they describe does.

    Times that move make every reading another status, which is written to Kubernetes again.
    """
    pod = created(provider, provider.pod())
    before = list(times_in(started(provider, pod)))
    let_a_second_pass()
    after = list(times_in(status(provider, pod)))
    moved = sorted({field for field, time in before if (field, time) not in after})
    expect(not moved, f"{', '.join(moved)} has moved within a second")


@recommended
def a_status_has_a_start_time(provider: Provider) -> None:
    """A status has a `startTime`.

    The garbage collection of Jobs, `activeDeadlineSeconds` and `kubectl describe` go by it.
    """
    at(_started(provider), "startTime", str)


@recommended
def every_container_has_one_entry(provider: Provider) -> None:
    """`containerStatuses` has one entry for every container: name, image, ready, restartCount, state.

    `kubectl get pods` counts READY and RESTARTS from them, and pages show them.
    """
    containers = [{"name": name, "image": "busybox:1.37", "command": ["sleep", "3600"]} for name in ("web", "db")]
    pod = created(provider, provider.pod(containers=containers))
    found = at(started(provider, pod), "containerStatuses", list)
    names = sorted(at(container, "name", str) for container in found)
    expect(names == ["db", "web"], f"there are entries for {', '.join(names)}")
    for container in found:
        for field, type_ in (("image", str), ("ready", bool), ("restartCount", int), ("state", dict)):
            at(container, field, type_)


@recommended
def a_running_pod_has_an_address(provider: Provider) -> None:
    """A running pod has a `podIP`.

    Without it, no Service has the pod as an endpoint.
    """
    at(_started(provider), "podIP", str)


def _started(provider: Provider) -> dict[str, Any]:
    return started(provider, created(provider, provider.pod()))
