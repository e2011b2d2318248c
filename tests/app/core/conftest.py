import os
from collections.abc import Callable

import pytest

from app.core.errors import ConfigurationError
from app.core.settings import Settings

Read = Callable[..., Settings]
Refused = Callable[..., list[str]]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Read:
    """Return a function that reads the settings from the given environment variables only."""

    def read(**variables: str) -> Settings:
        for name in list(os.environ):
            if not name.startswith("PYTEST_"):
                monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return Settings.from_environment()

    return read


@pytest.fixture
def refused(read: Read) -> Refused:
    """Return a function that reads invalid settings and returns the lines of the error."""

    def refused(**variables: str) -> list[str]:
        with pytest.raises(ConfigurationError) as refusal:
            read(**variables)
        assert refusal.value.__context__ is None  # a traceback would print the value
        return str(refusal.value).splitlines()

    return refused
