"""The usage of a pod on Slurm: what its shim measures every half minute."""

import time

from app.runtimes.process.usage import ProcessUsage


class JobUsage(ProcessUsage):
    """Reads the last measurement; a shim on another machine cannot be asked for one."""

    def prepare(self) -> None:
        """Record the time of the read, and wait for nothing."""
        self._asked_at = time.time()
