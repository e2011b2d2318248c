"""What one does before the provider can serve: look at its settings, migrate its database."""

import click

from app.core.errors import DatabaseFault, DatabaseUnavailable
from app.db.migrate import head, upgrade
from app.services import get_services


@click.command()
def config() -> None:
    """Print the settings in force, secrets masked."""
    for name, value in get_services().settings.in_force().items():
        click.echo(f"{name}={value}")


@click.command()
def migrate() -> None:
    """Bring the database to the revision that this version needs; make it where there is none."""
    try:
        upgrade(get_services().settings.database)
    except (DatabaseUnavailable, DatabaseFault) as exc:
        raise click.ClickException(f"{exc}; nothing was changed") from exc
    click.echo(f"the database is at {head()}")
