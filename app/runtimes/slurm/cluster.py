"""The nodes of a cluster, as one node: its capacity, and whether its controller answers."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from app.runtimes.slurm.commands import run
from app.runtimes.slurm.shared_answer import Health, SharedAnswer

_MAX_AGE_SECONDS = 10.0
_FORMAT = "%N|%T|%c|%m|%G"
_FIELDS = 5
_AVAILABLE = (
    "allocated",
    "completing",
    "idle",
    "mixed",
    "planned",
    "reserved",
    "powered_down",
    "powering_up",
    "powering_down",
)
_NOT_RESPONDING = "*"
_SUFFIXES = "~#!%$@^-+"
_GENERIC = re.compile(r"([A-Za-z]\w*)(?::([A-Za-z][\w.-]*))?:(\d+)")
_PODS = 10_000
"""The default of Slurm's `MaxJobCount`."""


class Cluster(NamedTuple):
    """The nodes of the chosen partitions that can run jobs.

    Attributes:
        nodes: their number.
        total: the number of all nodes of the partitions.
        cpus: their CPUs.
        memory: their memory, in MiB.
        generic: GRES, as NAME and as NAME:TYPE → count.
    """

    nodes: int
    total: int
    cpus: int
    memory: int
    generic: Mapping[str, int]


def parse_nodes(text: str) -> Cluster:
    """Parse what sinfo prints; a node of several partitions counts once."""
    lines = {fields[0]: fields for line in text.splitlines() if len(fields := line.split("|")) == _FIELDS}
    usable = [fields for fields in lines.values() if _is_available(fields[1])]
    generic: dict[str, int] = {}
    for fields in usable:
        for name, kind, count in _GENERIC.findall(re.sub(r"\([^)]*\)", "", fields[4])):
            for key in (name, f"{name}:{kind}") if kind else (name,):
                generic[key] = generic.get(key, 0) + int(count)
    return Cluster(
        nodes=len(usable),
        total=len(lines),
        cpus=sum(_number(fields[2]) for fields in usable),
        memory=sum(_number(fields[3]) for fields in usable),
        generic=MappingProxyType(generic),
    )


class ClusterReader:
    """Reads the nodes, at most every ten seconds.

    Args:
        directory: the RUNTIME_DIRECTORY.
        partitions: the chosen ones; all if there are none.
    """

    def __init__(self, directory: Path, partitions: Iterable[str]) -> None:
        chosen = ",".join(partitions)
        command = ["sinfo", "--noheader", "--Node", f"--format={_FORMAT}"]
        if chosen:
            command.append(f"--partition={chosen}")
        self._answer: SharedAnswer[Cluster] = SharedAnswer(
            directory / ".nodes.json", lambda: run(command), parse_nodes, max_age=_MAX_AGE_SECONDS
        )

    def health(self) -> Health:
        """Return whether the cluster can run jobs: its controller answers, and a node is available."""
        try:
            found = self._answer.health()
        except OSError as exc:
            return Health(exc.strerror, 0.0)
        cluster = self._answer.last()
        if found.error is None and cluster and not cluster.nodes:
            return Health(f"none of the {cluster.total} nodes can run jobs", found.since)
        return found

    def capacity(self, gres: Mapping[str, str]) -> dict[str, str]:
        """Return the capacity of the nodes that can run jobs, as last known; of nothing if it never was.

        Args:
            gres: resource name → GRES.
        """
        self.health()
        cluster = self._answer.last() or Cluster(0, 0, 0, 0, {})
        generic = {resource: str(cluster.generic.get(name, 0)) for resource, name in gres.items()}
        return {
            "cpu": str(cluster.cpus),
            "memory": f"{cluster.memory}Mi",
            "pods": str(_PODS),
            **{resource: count for resource, count in generic.items() if count != "0"},
        }


def _is_available(state: str) -> bool:
    return not state.endswith(_NOT_RESPONDING) and state.rstrip(_SUFFIXES) in _AVAILABLE


def _number(text: str) -> int:
    return int(text.rstrip("+")) if text.rstrip("+").isdigit() else 0
