"""The command line in a checkout: help, completion, errors; subcommands from any folder."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.preloaded import run
from tests.server import CLEAN, ROOT
from vkweb import __version__

SUBCOMMANDS = [
    *["attention", "audit", "broker", "completion", "config", "conformance", "fleet"],
    *["migrate", "node", "pods", "provider", "scenario", "shell", "up"],
]
HEAVY = {"app", "broker", "conformance", "flask", "gunicorn", "sqlalchemy"}


def vkweb(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `vkweb ARGUMENTS` of the checkout in a folder."""
    return run(str(ROOT / "vkweb"), *arguments, cwd=cwd, environment={**CLEAN, **environment})


def test_the_version_is_printed(tmp_path: Path) -> None:
    assert vkweb("--version", cwd=tmp_path).stdout == f"vkweb {__version__}\n"


def test_help_lists_every_subcommand_once(tmp_path: Path) -> None:
    listed = vkweb("--help", cwd=tmp_path).stdout.partition("Commands:\n")[2]
    assert [line.split()[0] for line in listed.splitlines()] == SUBCOMMANDS


def test_help_imports_none_of_the_programs(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from vkweb.cli import cli
cli(["--help"], standalone_mode=False)
print(*{HEAVY!r} & sys.modules.keys(), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=CLEAN, capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == ""


def test_every_subcommand_has_help(tmp_path: Path) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from click.testing import CliRunner
from vkweb.cli import cli
for name in {SUBCOMMANDS!r}:
    sys.argv = ["vkweb"]  # which a subcommand that passes its options on changes
    done = CliRunner().invoke(cli, [name, "--help"])
    assert done.exit_code == 0, done.output
    assert done.stdout.lower().startswith("usage: "), name
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=CLEAN, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_database_is_that_of_the_current_folder(tmp_path: Path) -> None:
    assert vkweb("migrate", cwd=tmp_path).returncode == 0
    assert (tmp_path / "data" / "provider.db").exists()
    assert vkweb("pods", "list", cwd=tmp_path).stdout.startswith("NAMESPACE")
    assert "DATABASE_URL=sqlite:///data/provider.db\n" in vkweb("config", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "message"),
    [
        (["config"], {"PORT": "x"}, 1, "PORT: "),
        (["migrate"], {"DATABASE_URL": "sqlite:////dev/null/x"}, 1, "Error: "),
        (["pods", "list"], {}, 3, "Error: "),
        (["pods", "list"], {"RUNTIME": "app.mine:Runtime"}, 1, "RUNTIME: No module named 'app.mine'; `app` is"),
        (["provider"], {"PORT": "x"}, 1, "PORT: "),
        (["provider", "--no-migrate"], {"PORT": "x"}, 1, "PORT: "),
        (["up"], {"PORT": "x"}, 1, "PORT: "),
    ],
    ids=str,
)
def test_an_error_is_one_line(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], code: int, message: str
) -> None:
    done = vkweb(*arguments, cwd=tmp_path, **environment)
    assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
    assert done.stderr.startswith(message)


def test_a_wrong_option_is_refused_before_the_migration(tmp_path: Path) -> None:
    done = vkweb("provider", "--bogus", cwd=tmp_path)
    assert done.returncode == 2
    assert "unrecognized arguments: --bogus" in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("command", [[], ["provider"], ["broker"], ["audit", "query"], ["conformance"]])
def test_help_names_no_file_of_the_checkout(tmp_path: Path, command: list[str]) -> None:
    assert "docs/" not in vkweb(*command, "--help", cwd=tmp_path).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed(tmp_path: Path, shell: str) -> None:
    printed = vkweb("completion", shell, cwd=tmp_path).stdout
    assert "_VKWEB_COMPLETE" in printed
    environment = {"_VKWEB_COMPLETE": f"{shell}_source"}
    if shell != "bash":  # whose version click checks, which needs a bash
        assert vkweb(cwd=tmp_path, **environment).stdout == printed


def test_completion_knows_the_flask_commands(tmp_path: Path) -> None:
    environment = {"_VKWEB_COMPLETE": "bash_complete", "COMP_WORDS": "vkweb pods ", "COMP_CWORD": "2"}
    assert "plain,explain\n" in vkweb(cwd=tmp_path, **environment).stdout


def test_the_old_commands_work_in_a_checkout() -> None:
    for arguments in (["flask", "--app", "wsgi", "config"], ["broker", "--version"], ["conformance", "--help"]):
        done = subprocess.run(
            [sys.executable, "-m", *arguments], cwd=ROOT, env=CLEAN, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
