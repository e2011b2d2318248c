"""PodStatus: phases, conditions, containers, timestamps."""

from typing import Any

from conformance.check import Failed, at, code, expect, extension, recommended, required
from conformance.checks.extensions import require
from conformance.client import ProviderClient, named, wait_a_second, wait_until
from conformance.pods import conditions, created, started, status
from conformance.times import instant, is_rfc3339, times_in


@required
def running_pod_becomes_ready(provider: ProviderClient) -> None:
    """A pod whose containers run has the phase `Running` and a condition `Ready` with the status `True`.

    Services and Deployments wait for the condition. Kubernetes defines `True`, `False` and `Unknown`, in this
    spelling; with any other value that is stored, the pod is never ready.
    """
    pod = created(provider, provider.pod())
    started(provider, pod)

    def is_ready() -> bool:
        found = status(provider, pod)
        return at(found, "phase", str) == "Running" and conditions(found).get("Ready") == "True"

    if not wait_until(is_ready):
        found = status(provider, pod)
        raise Failed(f"the phase is {found['phase']}, Ready is {conditions(found).get('Ready', 'missing')}")


@required
def timestamps_have_a_time_zone(provider: ProviderClient) -> None:
    """Every timestamp in a status is in RFC 3339 format with a time zone: `2026-11-22T08:46:38Z`.

    Go cannot parse any other format, and rejects the whole status.
    """
    for field, time in times_in(_started(provider)):
        expect(is_rfc3339(time), f"{field} is {time!r}")


@recommended
def timestamps_are_whole_seconds(provider: ProviderClient) -> None:
    """Timestamps are in whole seconds.

    Kubernetes stores no fractions: with one, the stored status never equals the provider's status.
    """
    for field, time in times_in(_started(provider)):
        read = instant(str(time))
        expect(read is None or not read.microsecond, f"{field} is {time!r}")


@recommended
def timestamps_are_stable(provider: ProviderClient) -> None:
    """`startTime`, `startedAt` and `lastTransitionTime` change only when the state that they describe changes.

    If they change on every read, every read is a new status, which is written to Kubernetes again.
    """
    pod = created(provider, provider.pod())
    before = list(times_in(started(provider, pod)))
    wait_a_second()
    after = list(times_in(status(provider, pod)))
    moved = sorted({field for field, time in before if (field, time) not in after})
    expect(not moved, f"changed within a second: {', '.join(moved)}")


@recommended
def status_has_a_start_time(provider: ProviderClient) -> None:
    """A status has a `startTime`.

    The garbage collection of Jobs, `activeDeadlineSeconds` and `kubectl describe` use it.
    """
    at(_started(provider), "startTime", str)


@recommended
def every_container_has_one_status(provider: ProviderClient) -> None:
    """`containerStatuses` has one entry for every container: name, image, ready, restartCount, state.

    `kubectl get pods` computes READY and RESTARTS from these entries, and dashboards show them.
    """
    containers = [{"name": name, "image": "busybox:1.37", "command": ["sleep", "3600"]} for name in ("web", "db")]
    pod = created(provider, provider.pod(containers=containers))
    found = at(started(provider, pod), "containerStatuses", list)
    names = sorted(at(container, "name", str) for container in found)
    expect(names == ["db", "web"], f"containerStatuses has entries for: {', '.join(names)}")
    for container in found:
        for field, type_ in (("image", str), ("ready", bool), ("restartCount", int), ("state", dict)):
            at(container, field, type_)


@recommended
def running_pod_has_a_pod_ip(provider: ProviderClient) -> None:
    """A running pod has a `podIP`.

    Without it, no Service has the pod as an endpoint.
    """
    at(_started(provider), "podIP", str)


@extension
def exceeded_deadline_ends_the_pod(provider: ProviderClient) -> None:
    """A pod that exceeds its `activeDeadlineSeconds` fails with the reason `DeadlineExceeded`, and keeps its log.

    The broker deletes such a pod at a provider without this extension; `kubectl logs` then has nothing.
    """
    require(provider, "activeDeadline")
    pod = created(provider, provider.pod(activeDeadlineSeconds=1, terminationGracePeriodSeconds=1))
    started(provider, pod)

    def has_failed() -> bool:
        return at(status(provider, pod), "phase", str) == "Failed"

    expect(wait_until(has_failed), "the pod runs after its deadline")
    reason = status(provider, pod).get("reason")
    expect(reason == "DeadlineExceeded", f"the reason is {reason}")
    where = named(pod)
    query = {"namespace": where["namespace"], "podName": where["name"], "containerName": "web", "tail": "1"}
    code(provider.get("/getContainerLogs", **query), 200)


def _started(provider: ProviderClient) -> dict[str, Any]:
    return started(provider, created(provider, provider.pod()))
