"""Where the fleet is described: the settings, a file, or a ConfigMap.

A file is read again when it changes, and on SIGHUP. A ConfigMap is watched. An invalid fleet is an error when the
broker starts; later it is logged, and the nodes stay as they are.
"""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import structlog

from broker.dependencies import Dependencies
from broker.errors import ConfigurationError
from broker.fleet.pools import Fleet, fleet_of, fleet_of_settings
from broker.fleet.schema import parse_fleet_file
from broker.kubernetes.errors import ApiError
from broker.kubernetes.watch import list_and_watch
from broker.types import Object
from broker.yaml_document import decode

KEY = "fleet.yaml"
"""Key of the fleet in a ConfigMap."""
POLL = 2.0
"""Seconds between two reads of the file."""

Apply = Callable[[Fleet], None]

log = structlog.get_logger()


class FleetSource:
    """The fleet of the settings, which does not change."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._settings = dependencies.settings

    async def load(self) -> Fleet:
        """Return the fleet.

        Raises:
            ConfigurationError: it cannot be read, or is invalid.
        """
        return fleet_of_settings(self._settings)

    async def run(self, apply: Apply) -> None:
        """Call `apply` with each later version of the fleet, until cancelled."""


class FleetFileSource(FleetSource):
    """A fleet file."""

    def __init__(self, dependencies: Dependencies, path: Path) -> None:
        super().__init__(dependencies)
        self._path = path
        self._text: bytes | None = None
        self._hangup = asyncio.Event()

    async def load(self) -> Fleet:
        """Read the file."""
        self._text = await self._read()
        return self._parse(self._text)

    async def run(self, apply: Apply) -> None:
        """Read the file again when it changes, and on SIGHUP.

        A change is applied once the file is the same at the next read: a file that is being written may be valid,
        and have fewer pools.
        """
        if not callable(signal.getsignal(signal.SIGHUP)):  # `vkweb up` may stop on SIGHUP, in the same process
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hangup.set)
        seen = handled = self._text
        while True:
            is_asked = await self._wait()
            try:
                text = await self._read()
            except ConfigurationError as exc:
                if is_asked or seen is not None:
                    log.error("fleet not changed: the file cannot be read", error=str(exc))
                seen = None
                continue
            is_settled, seen = text == seen, text
            if is_asked or (is_settled and text != handled):
                handled = text
                self._apply(text, apply)

    async def _wait(self) -> bool:
        """Wait until the next read is due; return whether SIGHUP asks for it."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hangup.wait(), POLL)
        is_asked = self._hangup.is_set()
        self._hangup.clear()
        return is_asked

    async def _read(self) -> bytes:
        try:
            return await asyncio.to_thread(self._path.read_bytes)
        except OSError as exc:
            raise ConfigurationError(f"FLEET: {exc.strerror or exc}: {self._path}") from exc

    def _parse(self, text: bytes) -> Fleet:
        return fleet_of(self._settings, parse_fleet_file(decode(text, name=str(self._path)), name=str(self._path)))

    def _apply(self, text: bytes, apply: Apply) -> None:
        try:
            fleet = self._parse(text)
        except ConfigurationError as exc:
            log.error("fleet not changed: the file is invalid", error=str(exc))
        else:
            log.info("fleet read", nodes=len(fleet.specs))
            apply(fleet)


class ConfigMapSource(FleetSource):
    """A ConfigMap with the fleet under the key `fleet.yaml`."""

    def __init__(self, dependencies: Dependencies, namespace: str, name: str) -> None:
        super().__init__(dependencies)
        self._dependencies = dependencies
        self._client = dependencies.client
        self._collection = f"/api/v1/namespaces/{quote(namespace)}/configmaps"
        self._name = name
        self._where = f"configmap:{namespace}/{name}"
        self._text: str | None = None

    async def load(self) -> Fleet:
        """Read the ConfigMap."""
        try:
            found, _ = await self._client.list(self._collection, fieldSelector=f"metadata.name={self._name}")
        except ApiError as exc:
            raise ConfigurationError(f"FLEET: {self._where}: {exc}") from exc
        if not found:
            raise ConfigurationError(f"FLEET: {self._where}: there is no such ConfigMap")
        return self._parse(found[0].decode())

    async def run(self, apply: Apply) -> None:
        """Watch the ConfigMap; where it is deleted, the nodes stay."""
        events = list_and_watch(
            self._client,
            self._collection,
            field_selector=f"metadata.name={self._name}",
            clock=self._dependencies.clock,
            random=self._dependencies.random,
        )
        async for type_, obj in events:
            if obj is None:
                continue
            if type_ == "DELETED":
                log.warning("fleet not changed: the ConfigMap was deleted", configmap=self._where)
                continue
            before = self._text
            try:
                fleet = self._parse(obj.decode())
            except ConfigurationError as exc:
                log.error("fleet not changed: the ConfigMap is invalid", error=str(exc))
                continue
            if self._text != before:
                log.info("fleet read", nodes=len(fleet.specs))
                apply(fleet)

    def _parse(self, obj: Object) -> Fleet:
        text = (obj.get("data") or {}).get(KEY)
        if text is None:
            raise ConfigurationError(f"FLEET: {self._where}: it has no key {KEY}")
        file = parse_fleet_file(text, name=f"{self._where}/{KEY}")
        self._text = text
        return fleet_of(self._settings, file)


def source_of(dependencies: Dependencies) -> FleetSource:
    """Return the source that the settings name."""
    fleet = dependencies.settings.fleet
    if fleet is None:
        return FleetSource(dependencies)
    kind, colon, where = fleet.partition(":")
    if colon and kind == "configmap":
        namespace, _, name = where.partition("/")
        return ConfigMapSource(dependencies, namespace, name)
    return FleetFileSource(dependencies, Path(fleet))
