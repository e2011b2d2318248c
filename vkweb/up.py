"""`vkweb up`: provider and broker with one log, in one process or as child processes of this one."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from vkweb.child import PARENT, exit_on_signals, run_in_child, stop_on_hangup
from vkweb.log import PART, copy_lines, tag_output
from vkweb.metrics_directory import disable_metrics_directory

_MAIN = Path(__file__).with_name("__main__.py")
_READY_INTERVAL = 0.1
_STOP_TIMEOUT = 30.0
"""Seconds that a part has to stop after SIGTERM; gunicorn and the broker need up to 25."""


class _Part:
    """The provider or the broker: a child process in a process group of its own.

    It ends when `vkweb up` ends, even by SIGKILL. Ctrl-C at a terminal reaches the process group of `vkweb up`
    only, so that the parts are stopped in order.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self._process = process
        self._log = asyncio.create_task(copy_lines(process.stdout, name), name=f"log of the {name}")
        self.ended = asyncio.create_task(self._wait(), name=f"{name} has ended")

    @classmethod
    async def start(cls, name: str, options: Sequence[str], environment: Mapping[str, str]) -> "_Part":
        """Start `vkweb NAME OPTIONS`."""
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, str(_MAIN), name, *options],
            env={**environment, PARENT: str(os.getpid())},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            process_group=0,
        )
        return cls(name, process)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process; SIGKILL to its group."""
        if self._process.returncode is not None:
            return
        try:
            if number == signal.SIGKILL:
                os.killpg(self._process.pid, number)
            else:
                os.kill(self._process.pid, number)
        except ProcessLookupError:
            pass

    async def stop(self) -> int:
        """Stop the process, by SIGKILL after a timeout; return its exit status."""
        self.signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(asyncio.shield(self.ended), _STOP_TIMEOUT)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            return await self.ended

    async def _wait(self) -> int:
        code = await self._process.wait()
        # A child of the part may hold the pipe for longer than the part runs.
        await asyncio.wait([self._log], timeout=1)
        return 128 - code if code < 0 else code


def run(options: Sequence[str], *, migrate: Callable[[], None], broker: Callable[[], int]) -> int:
    """Run provider and broker until SIGINT, SIGTERM or SIGHUP, or until one of them exits.

    Args:
        options: command-line options of the broker.
        migrate: migrates the database in a child process.
        broker: runs the broker in this process, and returns its exit status.

    Returns:
        The exit status of the part that exited first; after a signal, 0 if both stopped without an error.

    Raises:
        SystemExit: a setting of the provider is wrong; or the end of a process that is both parts.
    """
    variables, is_one_process = _read_settings()
    os.environ.update(variables)
    if is_one_process:
        _run_in_this_process(migrate, broker)
    return asyncio.run(_run(options, os.environ))


def _run_in_this_process(migrate: Callable[[], None], broker: Callable[[], int]) -> None:
    """Run both; does not return, but exits with the status of the broker, or 1 if the provider fails."""
    from vkweb.server import serve

    def run_broker() -> int:
        part = PART.set("broker")
        try:
            return broker()
        finally:
            PART.reset(part)
            exit_on_signals()  # while the provider stops; the broker's handlers are gone
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    exit_on_signals()
    stop_on_hangup()
    tag_output()
    disable_metrics_directory()
    import_module("app")  # once, for the migration's process and for this one
    migrate()
    serve([], program=run_broker)


class _Settings(NamedTuple):
    """The settings of the provider that concern both parts.

    Attributes:
        variables: environment variables of both that differ from those of this process. WEB_ENDPOINT_URL is the
            provider's address.
        is_one_process: whether the provider has no master process, so that the broker can run in its process.
    """

    variables: Mapping[str, str]
    is_one_process: bool


def _read_settings() -> _Settings:
    """Read the settings in a child process.

    This process may run as long as its parts, and the provider's libraries would take 40 MB of it.

    Raises:
        SystemExit: a setting of the provider is wrong.
    """
    reader, writer = os.pipe()
    with os.fdopen(reader) as settings:
        run_in_child(lambda: os.write(writer, json.dumps(_settings()).encode()))
        os.close(writer)
        return _Settings(*json.load(settings))


def _settings() -> _Settings:
    from app.core.errors import ConfigurationError
    from app.core.settings import Settings as ProviderSettings

    try:
        settings = ProviderSettings.from_environment()
    except ConfigurationError as exc:
        raise SystemExit(str(exc)) from None
    console = settings.log_format == "auto" and sys.stderr.isatty()  # the parts write to another stream
    variables = {"WEB_ENDPOINT_URL": settings.url, **({"LOG_FORMAT": "console"} if console else {})}
    return _Settings(variables, settings.workers == 1 and settings.has_default_runtime)


async def _run(options: Sequence[str], environment: Mapping[str, str]) -> int:
    stop = asyncio.Event()
    parts: list[_Part] = []
    _handle_signals(stop, parts)
    stopping = asyncio.create_task(stop.wait(), name="stop")
    parts.append(await _Part.start("provider", [], environment))
    ready = asyncio.create_task(_until_ready(environment["WEB_ENDPOINT_URL"]), name="provider is ready")
    await asyncio.wait([stopping, parts[0].ended, ready], return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done() and not parts[0].ended.done():
        parts.append(await _Part.start("broker", options, environment))
        await asyncio.wait([stopping, *(part.ended for part in parts)], return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    first = next((part for part in parts if part.ended.done()), None)
    # The broker first: it sets its Node to not ready, and finishes its requests to the provider.
    codes = {part.name: await part.stop() for part in reversed(parts)}
    stopping.cancel()
    return codes[first.name] if first else max(codes.values())


def _handle_signals(stop: asyncio.Event, parts: Sequence[_Part]) -> None:
    """Set `stop` on the first SIGINT, SIGTERM or SIGHUP; kill the parts on the second SIGINT or SIGTERM.

    When a terminal is closed, the shell and the kernel both send a SIGHUP.
    """

    def handle(number: signal.Signals) -> None:
        if stop.is_set() and number != signal.SIGHUP:
            for part in parts:
                part.signal(signal.SIGKILL)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            asyncio.get_running_loop().add_signal_handler(number, handle, number)


async def _until_ready(url: str) -> None:
    """Return when `/readyz` of the provider answers 200."""
    address = url.removeprefix("http://")
    while not await asyncio.to_thread(_is_ready, address):
        await asyncio.sleep(_READY_INTERVAL)


def _is_ready(address: str) -> bool:
    connection = HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
