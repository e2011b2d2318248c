"""What `flask` can do here: a module a group of commands.

Tables are for people; `--json` gives programs one object a line. The exit code is 0 where it went well, 1 where
the answer is no (there is no such pod, the chain is broken), 2 for a wrong command line, 3 where the database does
not answer.
"""

from flask import Flask

from app.cli import audit, node, pods, setup


def init_app(app: Flask) -> None:
    """Add the commands."""
    for command in (setup.config, setup.migrate, pods.pods, node.node, audit.audit):
        app.cli.add_command(command)
