"""The synthetic runtime: pods that are simulated; no process runs."""

from app.runtimes.synthetic.runtime import SyntheticRuntime

__all__ = ["SyntheticRuntime"]
