"""Simulate commands in a container: replies from an annotation, and a small shell.

The shell knows a few commands (:data:`COMMANDS`), `sh -c` with lists of commands, and an interactive `sh`. It has
no files, pipes or variables: the output of a command depends on the pod alone, so it is the same at every call.
"""

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from app.core.timestamps import parse_duration
from app.kubernetes.env import known_variables, with_addresses
from app.runtimes.streams import Files
from app.runtimes.synthetic.annotations import Reply
from app.runtimes.synthetic.pod import SimulatedContainer, SimulatedPod

_NOT_FOUND = 127
_SHELLS = frozenset({"sh", "bash", "ash", "dash"})
_OPERATORS = frozenset({";", "&&", "||"})
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DIRECTORIES = ("bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr", "var")
_DIGITS = 9
"""Of an exit code that a shell accepts."""


class _Exit(Exception):
    """The shell is left with an exit code."""

    def __init__(self, code: int) -> None:
        self.code = code


class Shell(NamedTuple):
    """A container in which commands are executed.

    Attributes:
        files: the streams of the client.
        tty: whether they are a terminal.
    """

    pod: SimulatedPod
    container: SimulatedContainer
    files: Files
    tty: bool

    def run(self, command: Sequence[str]) -> int:
        """Execute a command and return its exit code."""
        try:
            return self._execute(list(command))
        except _Exit as exc:
            return exc.code

    def write(self, text: str, *, error: bool = False) -> None:
        """Write text to standard output, or to standard error."""
        (self.files.stderr if error else self.files.stdout).write(text.encode(errors="surrogateescape"))

    def host_name(self) -> str:
        """Return the pod's host name."""
        return self.pod.definition.host_name

    def environment(self) -> dict[str, str]:
        """Return the container's environment, as a process in it has it."""
        own = with_addresses(known_variables(self.container.spec), self.pod.placement.fields)
        return {"PATH": _PATH, "HOSTNAME": self.host_name(), "HOME": "/root", **own}

    def _execute(self, words: list[str]) -> int:
        line = " ".join(words)
        for reply in self.container.overrides.exec:
            if _matches(line, reply.command):
                return self._reply(reply)
        path, *arguments = words
        name = path.rpartition("/")[2]
        if name in _SHELLS:
            return self._shell(arguments)
        if simulated := COMMANDS.get(name):
            return simulated(self, arguments)
        self.write(f"sh: {path}: not found\n", error=True)
        return _NOT_FOUND

    def _reply(self, reply: Reply) -> int:
        self.files.hung_up.wait(reply.delay.total_seconds())
        self.write(reply.stdout)
        self.write(reply.stderr, error=True)
        return reply.exit_code

    def _shell(self, arguments: list[str]) -> int:
        """Run `sh -c SCRIPT`, or read commands from standard input."""
        options = [argument for argument in arguments if argument.startswith("-")]
        if any("c" in option.lstrip("-") for option in options if not option.startswith("--")):
            scripts = [argument for argument in arguments if not argument.startswith("-")]
            return self._script(scripts[0]) if scripts else 2
        code = 0
        for line in self._lines():
            code = self._script(line)
        return code

    def _lines(self) -> Iterator[str]:
        while not self.files.hung_up.is_set():
            if self.tty:
                self.write("# ")
            line = self.files.stdin.readline()
            if not line:
                return
            yield line.decode(errors="surrogateescape")

    def _script(self, script: str) -> int:
        """Run commands that are joined by `;`, `&&`, `||` or ends of lines."""
        code = 0
        for operator, words in _statements(script):
            if (operator == "&&" and code) or (operator == "||" and not code):
                continue
            code = self._execute(words)
        return code


def _matches(line: str, pattern: str) -> bool:
    """Return whether a command is that of a reply, in which `*` matches any text."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), line, re.DOTALL) is not None


def _statements(script: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the commands of a script, each with the operator before it."""
    operator, words = ";", list[str]()
    for line in script.splitlines():
        try:
            lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
            lexer.whitespace_split = True
            tokens = [*lexer, ";"]
        except ValueError:  # a quote that is not closed
            tokens = [*line.split(), ";"]
        for token in tokens:
            if token not in _OPERATORS:
                words.append(token)
                continue
            if words:
                yield operator, words
            operator, words = token, []


def _env(shell: Shell, arguments: list[str]) -> int:
    shell.write("".join(f"{name}={value}\n" for name, value in shell.environment().items()))
    return 0


def _printenv(shell: Shell, arguments: list[str]) -> int:
    if not arguments:
        return _env(shell, arguments)
    values = [shell.environment().get(name) for name in arguments]
    shell.write("".join(f"{value}\n" for value in values if value is not None))
    return 1 if None in values else 0


def _hostname(shell: Shell, arguments: list[str]) -> int:
    shell.write(f"{shell.host_name()}\n")
    return 0


def _echo(shell: Shell, arguments: list[str]) -> int:
    shell.write(" ".join(arguments) + "\n")
    return 0


def _cat(shell: Shell, arguments: list[str]) -> int:
    """Copy standard input, or the files that every container has."""
    if not arguments:
        while data := shell.files.stdin.read(65536):
            shell.files.stdout.write(data)
        return 0
    code = 0
    for path in arguments:
        if path == "/etc/hostname":
            shell.write(f"{shell.host_name()}\n")
        elif path == "/etc/hosts":
            addresses = shell.pod.placement.pod_ips
            shell.write("127.0.0.1\tlocalhost\n" + "".join(f"{ip}\t{shell.host_name()}\n" for ip in addresses))
        else:
            shell.write(f"cat: {path}: No such file or directory\n", error=True)
            code = 1
    return code


def _ls(shell: Shell, arguments: list[str]) -> int:
    directories = [argument.rstrip("/") or "/" for argument in arguments if not argument.startswith("-")]
    code = 0
    for directory in directories or ["/"]:
        if directory == "/":
            shell.write("".join(f"{name}\n" for name in _DIRECTORIES))
        elif directory == "/etc":
            shell.write("hostname\nhosts\n")
        elif directory.removeprefix("/") not in _DIRECTORIES:
            shell.write(f"ls: {directory}: No such file or directory\n", error=True)
            code = 1
    return code


def _sleep(shell: Shell, arguments: list[str]) -> int:
    try:
        seconds = sum(parse_duration(text).total_seconds() for text in arguments)
    except ValueError:
        shell.write(f"sleep: invalid number '{' '.join(arguments)}'\n", error=True)
        return 1
    shell.files.hung_up.wait(seconds)
    return 0


def _exit(shell: Shell, arguments: list[str]) -> int:
    code = arguments[0] if arguments else "0"
    if not (code.isdecimal() and len(code) <= _DIGITS):
        shell.write(f"sh: exit: Illegal number: {code}\n", error=True)
        raise _Exit(2)
    raise _Exit(int(code) % 256)


COMMANDS: dict[str, Callable[[Shell, list[str]], int]] = {
    "cat": _cat,
    "echo": _echo,
    "env": _env,
    "exit": _exit,
    "false": lambda shell, arguments: 1,
    "hostname": _hostname,
    "ls": _ls,
    "printenv": _printenv,
    "pwd": lambda shell, arguments: _echo(shell, ["/"]),
    "sleep": _sleep,
    "true": lambda shell, arguments: 0,
    "whoami": lambda shell, arguments: _echo(shell, ["root"]),
}
"""The commands by name."""
