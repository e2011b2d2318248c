"""Gunicorn's logger."""

from typing import Any

from gunicorn.glogging import Logger as GunicornLogger

from app.core import logging_config
from app.core.settings import Settings


class Logger(GunicornLogger):
    """Gunicorn's log lines in the format of the application, which logs each request itself."""

    def setup(self, cfg: Any) -> None:
        """Configure logging as the application does."""
        self.cfg = cfg
        logging_config.configure(Settings.from_environment())

    def info(self, msg: str, *args: object, **kwargs: object) -> None:
        """Log an event, except gunicorn's list of addresses: with `reuse_port` it is empty. See `log_start`."""
        if not msg.startswith("Listening at"):
            super().info(msg, *args, **kwargs)

    def access(self, *_: object) -> None:
        """Log nothing: the middleware logs each request."""
