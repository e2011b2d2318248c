"""`vkweb config` and `vkweb migrate`: print the settings, migrate the database."""

import click

from app.core.errors import DatabaseFault, DatabaseUnavailable
from app.db.revision import head
from app.services import get_services


@click.command()
def config() -> None:
    """Print the settings in force, secrets redacted."""
    for name, value in get_services().settings.in_force().items():
        click.echo(f"{name}={value}")


@click.command()
def migrate() -> None:
    """Create the database, or migrate it to the revision of this version."""
    from app.db.migrate import upgrade  # with alembic; every process that serves imports this module

    try:
        upgrade(get_services().settings.database)
    except (DatabaseUnavailable, DatabaseFault) as exc:
        raise click.ClickException(f"{exc}; nothing was changed") from exc
    click.echo(f"the database is at {head()}")
