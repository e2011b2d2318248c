"""The usage of a pod on Slurm: what its shim measures every half minute."""

from app.runtimes.process.usage import ProcessUsage


class JobUsage(ProcessUsage):
    """Reads the last measurement; a shim on another machine cannot be asked for one."""

    def _ask(self) -> bool:
        return False
