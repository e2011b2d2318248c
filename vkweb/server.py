"""The provider's gunicorn, configured by the `gunicorn.conf.py` of the product.

Gunicorn's master process starts the workers, replaces them on SIGHUP, and kills those that hang. A single worker
does without: each page of memory that master and worker share is there twice as soon as one of them writes to it.
For the same reason, the broker of `vkweb up` can run in the process of that worker.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from threading import Thread, Timer
from typing import Any

from gunicorn import sock
from gunicorn.app.base import BaseApplication
from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.errors import HaltServer
from gunicorn.workers.base import Worker

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
            HaltServer: it has stopped, and so does gunicorn.
        """
        worker = self.worker_class(1, self.pid, [], self.app, self.timeout / 2, self.cfg, self.log)
        worker.pid = self.pid
        worker.sockets = sock.create_sockets(self.cfg, self.log)
        status = 1
        try:
            status = self.run_worker(worker)
        except SystemExit as exc:  # by a signal
            status = int(exc.code or 0)
            raise
        finally:
            deadline = Timer(_EXIT_SECONDS, os._exit, [status])
            deadline.daemon = True
            deadline.start()
        raise HaltServer(None, status)

    def run_worker(self, worker: Worker) -> int:
        """Run the worker until it stops; return the exit status."""
        for number in (signal.SIGHUP, signal.SIGUSR2):
            worker.SIGNALS.remove(number)  # a worker restores their default action, which ends the process
            signal.signal(number, signal.SIG_IGN)
        worker.init_process()
        return 0


class _WithProgram(_OneProcess):
    """The worker runs in a thread, and another program in the main thread, with the signals. Both end together.

    Args:
        app: the application of gunicorn.
        program: the other program, which stops on SIGTERM and returns its exit status.
    """

    def __init__(self, app: BaseApplication, program: Callable[[], int]) -> None:
        super().__init__(app)
        self._program = program
        self._is_stopping = self._has_failed = False

    def init_signals(self) -> None:
        """Leave the signals to the program."""

    def run_worker(self, worker: Worker) -> int:
        """Run both; the worker stops after the program. Return 1 if the worker has failed."""
        thread = Thread(target=self._serve, args=[worker], name="provider", daemon=True)
        thread.start()
        status = 0
        try:
            status = self._program()
        except SystemExit:  # by a signal that arrived before the program handles them
            if not self._has_failed:
                raise
        self._is_stopping = True
        worker.handle_exit(signal.SIGTERM, None)
        thread.join(self.cfg.graceful_timeout + _EXIT_SECONDS)
        return status or int(self._has_failed)

    def _serve(self, worker: Worker) -> None:
        """Run the worker. Where it ends by itself, as with --max-requests, the program is stopped."""
        log = logging.getLogger("gunicorn.error")
        try:
            worker.init_process()
        except Exception:
            log.exception("the provider has failed")
        finally:
            if not self._is_stopping:
                self._has_failed = True
                log.error("the provider has ended")
                os.kill(self.pid, signal.SIGTERM)


class _Server(BaseApplication):
    """Starts the processes, when `WSGIApplication` has handled options such as --check-config."""

    cfg: Any
    program: Callable[[], int] | None = None

    def run(self) -> None:
        """Serve. A user's runtime has a master in any case, which reaps orphans and replaces it on SIGHUP."""
        settings = import_module("app.core.settings").Settings.from_environment()
        if self.program:
            _WithProgram(self, self.program).run()
        if self.cfg.workers == 1 and settings.has_default_runtime:
            _OneProcess(self).run()
        super().run()


class _Gunicorn(WSGIApplication, _Server):
    """Gunicorn in this process.

    Gunicorn parses its options from `sys.argv`. On SIGUSR2 it starts itself again with the `sys.argv` of the
    start. So `sys.argv` contains gunicorn's options only while they are parsed, and `vkweb provider …` otherwise.
    """

    def __init__(self, options: Sequence[str], program: Callable[[], int] | None) -> None:
        self._options = options
        self.program = program
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


def serve(options: Sequence[str], *, program: Callable[[], int] | None = None) -> None:
    """Serve until SIGTERM; does not return.

    Args:
        options: command-line options of gunicorn, which override the configuration file.
        program: another program to run in this process, the only one, until either ends. It stops on SIGTERM and
            returns its exit status.
    """
    _Gunicorn(options, program).run()
