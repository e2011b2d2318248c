"""The usage of a pod on Slurm: what its shim measures every half minute."""

from app.kubernetes.stats import FsStats
from app.runtimes.process.usage import Measurement, ProcessUsage
from app.runtimes.slurm.job_dir import JobDirectory


class JobUsage(ProcessUsage):
    """Reads the last measurement; a shim on another machine cannot be asked for one."""

    def __init__(self, directory: JobDirectory) -> None:
        super().__init__(directory)
        self._as_owner = directory.as_owner

    def _ask(self) -> bool:
        return False

    def _read(self) -> Measurement | None:
        with self._as_owner():
            return super()._read()

    def _measure_storage(self) -> FsStats | None:
        with self._as_owner():
            return super()._measure_storage()
