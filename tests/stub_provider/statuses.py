"""Pods and statuses as the stub provider reports them."""

from datetime import datetime, timedelta
from typing import Any

Object = dict[str, Any]
NOW = "2026-11-22T08:46:38Z"


def waits(container: Object) -> bool:
    """Return whether a container has a variable that is not resolved."""
    return bool(container.get("envFrom")) or any(
        "valueFrom" in variable for variable in container.get("env") or ()
    )


def running(pod: Object, started: str = NOW) -> Object:
    """Return the status of a pod all of whose containers run, except those that wait for their environment."""
    waiting = {"waiting": {"reason": "CreateContainerConfigError", "message": "not resolved"}}
    containers = [
        {
            "name": container["name"],
            "image": container["image"],
            "ready": not waits(container),
            "restartCount": 0,
            "state": waiting if waits(container) else {"running": {"startedAt": started}},
        }
        for container in pod["spec"]["containers"]
    ]
    is_running = not any(map(waits, pod["spec"]["containers"]))
    conditions = [
        {"type": type_, "status": str(is_running or type_ != "Ready"), "lastTransitionTime": started}
        for type_ in ("PodScheduled", "Initialized", "Ready")
    ]
    return {
        "phase": "Running" if is_running else "Pending",
        "startTime": started,
        "podIP": "10.0.0.7",
        "conditions": conditions,
        "containerStatuses": containers,
    }


def ended(status: Object, exit_code: int) -> Object:
    """Return the status of a pod whose containers have ended."""
    state = {"terminated": {"exitCode": exit_code, "reason": "Error" if exit_code else "Completed"}}
    containers = [{**container, "ready": False, "state": state} for container in status["containerStatuses"]]
    return {**status, "phase": "Failed" if exit_code else "Succeeded", "containerStatuses": containers}


def node_stats(seconds: int) -> Object:
    """Return the usage of a machine whose processor has worked for a number of seconds."""
    time = (datetime.fromisoformat(NOW) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    memory = {
        "workingSetBytes": 6 * 2**30,
        "availableBytes": 2 * 2**30,
        "rssBytes": 2**30,
        "usageBytes": 7 * 2**30,
    }
    return {
        "nodeName": "stub",
        "startTime": NOW,
        "cpu": {"time": time, "usageNanoCores": 10**9, "usageCoreNanoSeconds": seconds * 10**9},
        "memory": {"time": time, **memory},
        "fs": {"time": time, "availableBytes": 2**30, "capacityBytes": 2**34, "usedBytes": 15 * 2**30},
        "rlimit": {"time": time, "maxpid": 32768, "curproc": 300},
    }


def pod_stats(pod: Object, status: Object, seconds: int) -> Object:
    """Return the usage of a pod whose containers have each used one core for a number of seconds."""
    time = (datetime.fromisoformat(NOW) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    running = [container for container in status["containerStatuses"] if "running" in container["state"]]

    def usage(count: int) -> Object:
        memory = dict.fromkeys(("workingSetBytes", "rssBytes", "usageBytes"), count * 2**20)
        total = count * seconds * 10**9
        return {
            "cpu": {"time": time, "usageNanoCores": count * 10**9, "usageCoreNanoSeconds": total},
            "memory": {"time": time, **memory},
        }

    return {
        "podRef": {name: pod["metadata"][name] for name in ("namespace", "name", "uid")},
        "startTime": status["startTime"],
        "containers": [
            {"name": entry["name"], "startTime": entry["state"]["running"]["startedAt"], **usage(1)}
            for entry in running
        ],
        **usage(len(running)),
    }
