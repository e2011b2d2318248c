"""A cluster of Slurm on this machine: munged, slurmctld, and two slurmd with names of their own."""

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.postgres import free_port
from tests.waiting import eventually, is_alive

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo", "srun")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"

_CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
GresTypes=gpu
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=10000,bf_interval=1
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
KillWait=1
FirstJobId=1
MessageTimeout=2
DefMemPerCPU=10
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[0]} CPUs=64 RealMemory=64000 Gres=gpu:2 Feature=fast
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=64 RealMemory=64000 Feature=slow
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=small Nodes=n2 MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=n2 MaxTime=INFINITE State=UP PriorityTier=2
"""


class SlurmCluster:
    """The daemons, in a directory of their own, and commands of an operator."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        self.root.chmod(0o755)
        self.configuration = self.root / "slurm.conf"
        self._daemons: list[int] = []
        self._cleared = 0  # the ID of the last job before the test

    @staticmethod
    def is_installed() -> bool:
        return all(shutil.which(name, path=_PATH) for name in PROGRAMS)

    def start(self) -> None:
        """Start the daemons, and wait until both nodes are idle."""
        key = self.root / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        (self.root / "state").mkdir()
        (self.root / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        for node in ("n1", "n2"):
            (self.root / f"spool-{node}").mkdir()
        (self.root / "gres.conf").write_text(
            "".join(f"NodeName=n1 Name=gpu File={self._gpu(number)}\n" for number in range(2))
        )
        self.configuration.write_text(
            _CONFIGURATION.format(
                host=socket.gethostname().partition(".")[0],
                root=self.root,
                port=free_port(),
                ports=(free_port(), free_port()),
                user=getpass.getuser(),
            )
        )
        self._start_munge(key)
        self.start_controller()
        for node in ("n1", "n2"):
            self.start_node(node)
        eventually(self._is_idle)

    def _node_states(self) -> dict[str, str]:
        words = self.run("sinfo", "-h", "-N", "-p", "main", "-o", "%N %T").split()
        return dict(zip(words[::2], words[1::2], strict=True))

    def _is_idle(self) -> bool:
        return self._node_states() == {"n1": "idle", "n2": "idle"}

    def _gpu(self, number: int) -> Path:
        path = self.root / f"gpu{number}"
        path.touch()
        return path

    def _start_munge(self, key: Path) -> None:
        pid = self.root / "munged.pid"
        options = {
            "socket": self.root / "munge.socket",
            "key-file": key,
            "pid-file": pid,
            "log-file": self.root / "munged.log",
            "seed-file": self.root / "munged.seed",
        }
        self._daemon(["munged", "--force", *(f"--{name}={value}" for name, value in options.items())])
        self._daemons.append(self._pid("munged"))

    def start_controller(self, *, lose_jobs: bool = False) -> None:
        """Start slurmctld, and wait until it answers."""
        if lose_jobs:  # a slurmd starts no job whose ID it knows from before
            text = self.configuration.read_text()
            self.configuration.write_text(text.replace("FirstJobId=1", "FirstJobId=10001"))
        self._daemon(["slurmctld", *(["-c"] if lose_jobs else [])])
        self._daemons.append(self._pid("slurmctld"))
        eventually(lambda: "UP" in self.run("scontrol", "ping", check=False))

    def kill_controller(self) -> None:
        """Kill slurmctld with SIGKILL."""
        pid = self._pid("slurmctld")
        os.kill(pid, signal.SIGKILL)
        _until_ended(pid)
        (self.root / "slurmctld.pid").unlink()

    def start_node(self, name: str) -> None:
        """Start the slurmd of a node."""
        self._daemon(["slurmd", "-N", name])
        self._daemons.append(self._pid(f"slurmd-{name}"))

    def _pid(self, name: str) -> int:
        path = self.root / f"{name}.pid"
        return int(eventually(lambda: path.read_text().strip() if path.exists() else ""))

    def _daemon(self, command: list[str]) -> None:
        log = self.root / "start.log"
        with log.open("ab") as file:
            subprocess.run(command, env=self.environment, check=True, stdout=file, stderr=file, cwd="/")

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": _PATH, "SLURM_CONF": str(self.configuration), "HOME": os.environ.get("HOME", "/")}

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command, and return its output."""
        done = subprocess.run(command, env=self.environment, check=False, capture_output=True, text=True, cwd="/")
        assert not (check and done.returncode), done.stderr
        return done.stdout

    def jobs(self, *fields: str) -> list[list[str]]:
        """Return fields of the jobs of this test, as squeue's format names them."""
        output = self.run("squeue", "-h", "--states=all", "-o", "|".join(("%i", *fields)))
        return [found for line in output.splitlines() if int((found := line.split("|")).pop(0)) > self._cleared]

    def clear(self) -> None:
        """End all jobs, and make both nodes available."""
        ids = [number for number, state in self.jobs("%i", "%T") if state not in _ENDED]
        if ids:
            self.run("scancel", "--signal=KILL", "--full", *ids, check=False)
            self.run("scancel", *ids, check=False)
        for node, state in self._node_states().items():
            # A job that ended without a controller is completing for minutes; on a node that is down it has ended.
            if "completing" in state:
                self.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test", check=False)
            if state != "idle":
                self.run("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)
        eventually(self._is_idle)
        eventually(lambda: all(state in _ENDED for (state,) in self.jobs("%T")))
        self._cleared = max((int(number) for (number,) in self.jobs("%i")), default=self._cleared)

    def remove(self) -> None:
        """Kill all daemons and what is left of their jobs."""
        for pid in [*self._daemons, *self._left()]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            _until_ended(pid)
        shutil.rmtree(self.root, ignore_errors=True)

    def _left(self) -> list[int]:
        """Return the processes of this cluster, such as those of steps that wait for their controller."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if f"SLURM_CONF={self.configuration}".encode() in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        return [pid for pid in found if pid != os.getpid()]


_ENDED = ("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY", "BOOT_FAIL")


def _until_ended(pid: int, *, seconds: float = 30) -> None:
    """Wait until a process has ended."""
    eventually(lambda: not is_alive(pid), seconds=seconds)
