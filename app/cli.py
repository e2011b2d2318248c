"""What `flask` can do here beside its own commands."""

import click
from flask import Flask

from app.errors import DatabaseFault, DatabaseUnavailable
from app.migrate import head, upgrade
from app.provider import provider
from app.settings import Settings


def init_app(app: Flask) -> None:
    """Add the commands."""
    app.cli.add_command(config)
    app.cli.add_command(migrate)


@click.command()
def config() -> None:
    """Print the settings in force, secrets masked."""
    for name, value in _settings().in_force().items():
        click.echo(f"{name}={value}")


@click.command()
def migrate() -> None:
    """Bring the database to the revision that this version needs; make it where there is none."""
    try:
        upgrade(_settings().database)
    except (DatabaseUnavailable, DatabaseFault) as exc:
        raise click.ClickException(f"{exc}; nothing was changed") from exc
    click.echo(f"the database is at {head()}")


def _settings() -> Settings:
    return provider().settings
