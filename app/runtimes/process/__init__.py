"""Pods as processes of this machine, where no container engine may run. See `docs/process-runtime.md`."""

from app.runtimes.process.runtime import ProcessRuntime

__all__ = ["ProcessRuntime"]
