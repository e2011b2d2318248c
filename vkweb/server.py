"""The provider's gunicorn, configured by the `gunicorn.conf.py` of the product."""

import os
import sys
from collections.abc import Sequence
from typing import Any

from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.config import Config

from vkweb import LIBRARY

_USAGE, _PROGRAM = "%(prog)s [-- OPTIONS]", "vkweb provider"
_CONFIGURATION = LIBRARY / "gunicorn.conf.py"


class _Gunicorn(WSGIApplication):
    """Gunicorn in this process.

    Gunicorn parses its options from `sys.argv`. On SIGUSR2 it starts itself again with the `sys.argv` of the
    start. So `sys.argv` contains gunicorn's options only while they are parsed, and `vkweb provider …` otherwise.
    """

    cfg: Any

    def __init__(self, options: Sequence[str]) -> None:
        self._options = options
        super().__init__(_USAGE, prog=_PROGRAM)

    def chdir(self) -> None:
        """Add the current folder to the end of the import path, where gunicorn would add it to the front."""
        os.chdir(self.cfg.chdir)
        if self.cfg.chdir not in sys.path:
            sys.path.append(self.cfg.chdir)

    def load_config(self) -> None:
        """Parse the options and the configuration file."""
        command_line = sys.argv
        sys.argv = [command_line[0], "--config", str(_CONFIGURATION), *self._options]
        try:
            super().load_config()
        finally:
            sys.argv = command_line


def check_options(options: Sequence[str]) -> None:
    """Parse gunicorn's options, without effect.

    Raises:
        SystemExit: an option is unknown or invalid, which is printed.
    """
    Config(_USAGE, prog=_PROGRAM).parser().parse_args(list(options))


def serve(options: Sequence[str]) -> None:
    """Serve until SIGTERM; does not return.

    Args:
        options: command-line options of gunicorn, which override the configuration file.
    """
    _Gunicorn(options).run()
