import os
from collections.abc import Callable

import pytest

from app.core.errors import ConfigurationError
from app.core.settings import Settings

Read = Callable[..., Settings]
Refused = Callable[..., list[str]]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Read:
    """Read the settings from an environment that has these variables and no other."""

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
    """Read settings that are wrong, and give the lines that say so."""

    def refused(**variables: str) -> list[str]:
        with pytest.raises(ConfigurationError) as refusal:
            read(**variables)
        assert refusal.value.__context__ is None  # a traceback would show what it holds
        return str(refusal.value).splitlines()

    return refused
