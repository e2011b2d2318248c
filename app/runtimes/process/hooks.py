"""Lifecycle hooks of a container, as commands for its shim."""

import json
import sys
from pathlib import Path
from typing import Any

from app.kubernetes.pod import ApiObject, ContainerPort, Lifecycle, LifecycleHandler
from app.runtimes.base import Placement
from app.runtimes.process.shim import http_get

_PYTHON = (sys.executable, "-s", "-P", "-X", "utf8")


class _ExecAction(ApiObject, frozen=True):
    command: list[str] | None = None


class _HttpHeader(ApiObject, frozen=True):
    name: str
    value: str | None = None


class _HttpGetAction(ApiObject, frozen=True):
    port: int | str
    host: str | None = None
    path: str | None = None
    scheme: str | None = None
    http_headers: list[_HttpHeader] | None = None


class Hook(LifecycleHandler, frozen=True):
    """A lifecycle handler; `tcpSocket` is not one of Kubernetes' hooks and fails."""

    exec: _ExecAction | None = None
    http_get: _HttpGetAction | None = None


class Hooks(Lifecycle, frozen=True):
    """The hooks of a container."""

    post_start: Hook | None = None
    pre_stop: Hook | None = None


class Port(ContainerPort, frozen=True):
    """A port of a container, to which a hook can refer by name."""

    name: str | None = None


def hook_command(hook: Hook | None, ports: list[Port], placement: Placement) -> dict[str, Any] | None:
    """Return a hook as `argv` and `env`; None without a hook. Without an `argv`, the hook fails.

    `is_of_host` is False for a command of the container.
    """
    if hook is None:
        return None
    argv: list[str] = []
    env: dict[str, str] = {}
    if hook.exec:
        argv = hook.exec.command or []
    elif hook.http_get:
        argv = [*_PYTHON, str(Path(http_get.__file__))]
        env = {http_get.REQUEST: json.dumps(_request(hook.http_get, ports, placement))}
    elif hook.sleep:
        argv = [*_PYTHON, "-c", f"import time; time.sleep({hook.seconds})"]
    return {"argv": argv, "env": env, "is_of_host": hook.exec is None}


def _request(action: _HttpGetAction, ports: list[Port], placement: Placement) -> dict[str, Any]:
    port = next((port.container_port for port in ports if port.name == action.port), action.port)
    host = action.host or placement.pod_ips[0]
    if ":" in host:
        host = f"[{host}]"
    path = (action.path or "").lstrip("/")
    return {
        "url": f"{(action.scheme or 'HTTP').lower()}://{host}:{port}/{path}",
        "headers": [[header.name, header.value or ""] for header in action.http_headers or ()],
    }
