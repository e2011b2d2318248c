"""The provider's gunicorn, configured by the `gunicorn.conf.py` of the product.

Gunicorn's master process starts the workers, replaces them on SIGHUP, and kills those that hang. A single worker
does without: each page of memory that master and worker share is there twice as soon as one of them writes to it.
"""

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from threading import Timer
from typing import Any

from gunicorn import sock
from gunicorn.app.base import BaseApplication
from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config

from vkweb import LIBRARY

_USAGE, _PROGRAM = "%(prog)s [-- OPTIONS]", "vkweb provider"
_CONFIGURATION = LIBRARY / "gunicorn.conf.py"
_EXIT_SECONDS = 1.0
"""For threads that handle a request after the grace period; gunicorn's master would kill their process."""


class _OneProcess(Arbiter):
    """Gunicorn whose only worker runs in its own process, until SIGTERM or SIGINT. SIGHUP has no effect."""

    def spawn_worker(self) -> None:
        """Run the worker.

        Raises:
            StopIteration: it has stopped, and so does gunicorn.
        """
        worker = self.worker_class(1, self.pid, [], self.app, self.timeout / 2, self.cfg, self.log)
        worker.pid = self.pid
        worker.sockets = sock.create_sockets(self.cfg, self.log)
        for number in (signal.SIGHUP, signal.SIGUSR2):
            worker.SIGNALS.remove(number)  # a worker restores their default action, which ends the process
            signal.signal(number, signal.SIG_IGN)
        status = 0
        try:
            worker.init_process()
        except Exception:
            status = 1
            raise
        finally:
            deadline = Timer(_EXIT_SECONDS, os._exit, [status])
            deadline.daemon = True
            deadline.start()
        raise StopIteration


class _Server(BaseApplication):
    """Starts the processes, when `WSGIApplication` has handled options such as --check-config."""

    cfg: Any

    def run(self) -> None:
        """Serve. A user's runtime has a master in any case, which reaps orphans and replaces it on SIGHUP."""
        settings = import_module("app.core.settings").Settings.from_environment()
        if self.cfg.workers == 1 and settings.has_default_runtime:
            _OneProcess(self).run()
        super().run()


class _Gunicorn(WSGIApplication, _Server):
    """Gunicorn in this process.

    Gunicorn parses its options from `sys.argv`. On SIGUSR2 it starts itself again with the `sys.argv` of the
    start. So `sys.argv` contains gunicorn's options only while they are parsed, and `vkweb provider …` otherwise.
    """

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
