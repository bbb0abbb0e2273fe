"""`otel-audit config`: check and show the settings a server would start with."""

from __future__ import annotations

import click

from ..settings import SETTINGS
from .context import CliContext, pass_cli, print_json, print_table


@click.group()
def config() -> None:
    """Check and show the configuration."""


@config.command()
@pass_cli
def check(cli: CliContext) -> None:
    """Read file and environment; exits 1 naming the setting that cannot be used."""
    cli.settings()
    click.echo("ok")


@config.command()
@pass_cli
def show(cli: CliContext) -> None:
    """Print the settings in force, as JSON."""
    print_json(cli.settings().show())


@config.command(name="list")
def list_() -> None:
    """List every setting, its environment variable and what it may be."""
    print_table(
        ["SETTING", "ENVIRONMENT", "ALLOWED", "MEANING"],
        [[s.key, s.environment, s.allowed, s.meaning] for s in SETTINGS],
    )
