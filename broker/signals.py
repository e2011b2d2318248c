"""Signals that stop a program: the first in order, the second at once."""

import asyncio
import signal


def stop_on_signals(stop: asyncio.Event) -> None:
    """Set an event on SIGTERM or SIGINT; the same signal once more ends the process.

    A signal that is ignored, as SIGINT by a command in the background of a script, stays ignored.
    """
    loop = asyncio.get_running_loop()

    def handle(number: signal.Signals) -> None:
        stop.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, handle, number)
