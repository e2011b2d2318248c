"""The commands of `flask`: a module a group.

By default a command prints a table; with `--json`, one JSON object a line. Exit codes: 0 success; 1 not found, an
invalid request or a broken hash chain; 2 invalid usage; 3 the database cannot be reached, or no hash chain exists.
"""

from flask import Flask

from app.cli import attention, audit, node, pod_logs, pods, setup

__all__ = ["init_app", "pod_logs"]  # a module that adds its command to `vkweb pods`


def init_app(app: Flask) -> None:
    """Register the commands."""
    for command in (setup.config, setup.migrate, pods.pods, attention.attention, node.node, audit.audit):
        app.cli.add_command(command)
