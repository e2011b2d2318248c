"""Pods as jobs of a cluster that Slurm manages. See `docs/slurm.md`."""

from app.runtimes.slurm.runtime import SlurmRuntime

__all__ = ["SlurmRuntime"]
