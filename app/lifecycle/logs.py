"""What a synthetic container would have written: a function of the pod, so that nothing is stored."""

from app.lifecycle.manifest import Container
from app.lifecycle.status import ContainerStatus


def log_lines(container: Container, status: ContainerStatus) -> list[str]:
    """Write the log of a container that has started.

    Names of what it was given, never a value: an environment holds secrets.
    """
    terminated = status.state.terminated
    running = status.state.running
    started_at = terminated.started_at if terminated else running.started_at if running else ""
    command = [*(container.command or ()), *(container.args or ())]
    lines = [
        f"synthetic container {container.name} from image {container.image or '(none)'}",
        f"container ID {status.container_id}",
        f"command has {len(command)} words" if command else "command is the image's own",
        *(f"listening on {port.container_port}/{port.protocol or 'TCP'}" for port in container.ports or ()),
        f"started at {started_at}",
    ]
    if terminated:
        lines.append(f"exited with code {terminated.exit_code} at {terminated.finished_at}")
    return lines


def tail(lines: list[str], count: int | None) -> list[str]:
    """Take the last `count` lines; all of them where the count is missing or negative."""
    if count is None or count < 0:
        return lines
    return lines[len(lines) - min(count, len(lines)) :]
