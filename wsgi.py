"""The entry point: `gunicorn wsgi:app`, and `flask` finds it by its name."""

from app import create_app
from app.core import logging_config as log
from app.core.errors import ConfigurationError
from app.core.settings import Settings

try:
    settings = Settings.from_environment()
except ConfigurationError as exc:
    raise SystemExit(str(exc)) from None

log.configure(settings)
app = create_app(settings)
