"""The seam for real work: what a node does with its pods, behind one interface.

`RUNTIME=package.module:Class` chooses. `docs/writing-a-runtime.md` leads from nothing to a node of one's own.
"""

from app.runtimes.runtime import AcceptedPod, LogLine, Runtime

__all__ = ["AcceptedPod", "LogLine", "Runtime"]
