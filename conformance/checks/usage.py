"""Usage of pods and of their machine: `/podStats` and `/nodeStats`."""

from typing import Any

from conformance.check import Failed, NotOffered, at, document, expect, extension, success
from conformance.checks.extensions import require
from conformance.client import PodJSON, ProviderClient, wait_until
from conformance.pods import created, is_deleted, started, status
from conformance.times import instant, is_rfc3339


@extension
def usage_lists_the_running_containers(provider: ProviderClient) -> None:
    """`GET /podStats` has an entry with CPU and memory for each running container.

    The node drops a pod of which a container is missing, so that `kubectl top` and autoscalers do not see it.
    """
    pod = _measured(provider)
    started(provider, pod)
    found = _wait_for(provider, pod)
    at(found, "startTime", str)
    running = {entry["name"]: entry for entry in status(provider, pod)["containerStatuses"]}
    entries = {at(entry, "name", str): entry for entry in at(found, "containers", list)}
    expect(entries.keys() == running.keys(), f"the containers are {', '.join(sorted(entries)) or 'none'}")
    for name, entry in entries.items():
        started_at = running[name]["state"]["running"]["startedAt"]
        is_same = instant(at(entry, "startTime", str)) == instant(started_at)
        expect(is_same, f"startTime of {name} is not startedAt of its status")


@extension
def usage_has_times_and_numbers(provider: ProviderClient) -> None:
    """Each value has a time in RFC 3339 format; amounts are integers that are not negative.

    The node computes rates from the values and their times.
    """
    found = _wait_for(provider, _measured(provider))
    for owner in (found, *at(found, "containers", list)):
        _are_amounts(owner, *_AMOUNTS)
        _have_times(owner, "cpu.time", "memory.time")
    if "ephemeral-storage" in found:
        _is_file_system(found, "ephemeral-storage", "usedBytes")


@extension
def pod_usage_is_the_sum_of_its_containers(provider: ProviderClient) -> None:
    """The CPU and memory of a pod are the sums over its containers.

    An autoscaler reads the containers and the eviction of pods reads the pod; both must agree.
    """
    pod = provider.pod()
    pod["spec"]["containers"].append({**pod["spec"]["containers"][0], "name": "second"})
    found = _wait_for(provider, _measured(provider, pod))
    for path in _AMOUNTS:
        total = sum(at(container, path, int) for container in at(found, "containers", list))
        expect(at(found, path, int) == total, f"{path} of the pod is not the sum over its containers")


@extension
def total_usage_never_falls(provider: ProviderClient) -> None:
    """`usageCoreNanoSeconds` never falls while a container runs, and its time advances.

    A counter that falls is read as a restart, and the rate is wrong.
    """
    pod = _measured(provider)
    first = _wait_for(provider, pod)

    def later() -> dict[str, Any] | None:
        found = _usage(provider, pod)
        expect(found, "the usage of a running pod is missing")
        return found if found and found["cpu"]["time"] != first["cpu"]["time"] else None

    second = wait_until(later)
    expect(second, "the time of the usage does not advance")
    totals = [at(found, "cpu.usageCoreNanoSeconds", int) for found in (first, second)]
    expect(totals[0] <= totals[1], f"the total falls from {totals[0]} to {totals[1]}")


@extension
def deleted_pod_has_no_usage(provider: ProviderClient) -> None:
    """A pod that is gone has no entry.

    The node would report usage of a pod that Kubernetes does not know.
    """
    pod = _measured(provider)
    _wait_for(provider, pod)
    success(provider.delete(pod))
    expect(is_deleted(provider, pod), "/getPods still lists the deleted pod")
    expect(_usage(provider, pod) is None, "/podStats has an entry for the deleted pod")


@extension
def usage_of_the_machine_has_times_and_numbers(provider: ProviderClient) -> None:
    """`GET /nodeStats` has CPU and memory with their times; `fs` and `rlimit` are optional.

    The node reports it as its own usage, and evicts pods by what is available.
    """
    answer = provider.get("/nodeStats")
    if answer.code in (404, 405, 501):
        raise NotOffered("/nodeStats does not exist")
    found = document(answer, dict)
    times = ["startTime", "cpu.time", "memory.time"]
    amounts = ["cpu.usageCoreNanoSeconds", "memory.workingSetBytes", "memory.availableBytes"]
    if "fs" in found:
        _is_file_system(found, "fs", "availableBytes", "capacityBytes")
    if "rlimit" in found:
        times.append("rlimit.time")
        amounts += ["rlimit.maxpid", "rlimit.curproc"]
    _have_times(found, *times)
    _are_amounts(found, *amounts)


_AMOUNTS = (
    "cpu.usageNanoCores",
    "cpu.usageCoreNanoSeconds",
    "memory.workingSetBytes",
    "memory.rssBytes",
    "memory.usageBytes",
)


def _are_amounts(owner: dict[str, Any], *paths: str) -> None:
    for path in paths:
        expect(at(owner, path, int) >= 0, f"{path} is negative")


def _have_times(owner: dict[str, Any], *paths: str) -> None:
    for path in paths:
        time = at(owner, path, str)
        expect(is_rfc3339(time), f"{path} is not in RFC 3339 format: {time}")


def _is_file_system(owner: dict[str, Any], path: str, *amounts: str) -> None:
    _have_times(owner, f"{path}.time")
    _are_amounts(owner, *(f"{path}.{amount}" for amount in amounts))


def _usage(provider: ProviderClient, pod: PodJSON) -> dict[str, Any] | None:
    """Return the entry of a pod; None if there is none."""
    answer = provider.get("/podStats")
    wanted = pod["metadata"]["uid"]
    entries = [entry for entry in document(answer, list) if at(entry, "podRef.uid", str) == wanted]
    expect(len(entries) < 2, f"/podStats has {len(entries)} entries for one pod")
    return entries[0] if entries else None


def _measured(provider: ProviderClient, pod: PodJSON | None = None) -> PodJSON:
    """Create a pod, by default one of one container, at a provider that reports usage; return the pod.

    Raises:
        NotOffered: it does not report usage. No pod was created, which the provider may refuse.
    """
    require(provider, "podStats")
    return created(provider, pod or provider.pod())


def _wait_for(provider: ProviderClient, pod: PodJSON) -> dict[str, Any]:
    """Wait until the usage of a pod is reported."""
    found = wait_until(lambda: _usage(provider, pod))
    if found is None:
        raise Failed("/podStats has no entry for a running pod")
    return found
