"""What one does before the provider can serve: look at its settings, migrate its database."""

import click

from app.errors import DatabaseFault, DatabaseUnavailable
from app.migrate import head, upgrade
from app.provider import provider


@click.command()
def config() -> None:
    """Print the settings in force, secrets masked."""
    for name, value in provider().settings.in_force().items():
        click.echo(f"{name}={value}")


@click.command()
def migrate() -> None:
    """Bring the database to the revision that this version needs; make it where there is none."""
    try:
        upgrade(provider().settings.database)
    except (DatabaseUnavailable, DatabaseFault) as exc:
        raise click.ClickException(f"{exc}; nothing was changed") from exc
    click.echo(f"the database is at {head()}")
