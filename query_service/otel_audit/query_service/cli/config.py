"""`otel-audit config`: check and show the settings a server would start with."""

from __future__ import annotations

from pathlib import Path

import click

from ..settings import SETTINGS, Settings
from .context import CliContext, pass_cli, print_json, print_table

_file = click.option(
    "--config", "path", type=click.Path(path_type=Path, dir_okay=False), help="The TOML file."
)


@click.group()
def config() -> None:
    """Check and show the configuration."""


@config.command()
@_file
@pass_cli
def check(cli: CliContext, path: Path | None) -> None:
    """Read file and environment; exits 1 naming the setting that cannot be used."""
    Settings.load(cli.data_dir, config=path)
    click.echo("ok")


@config.command()
@_file
@pass_cli
def show(cli: CliContext, path: Path | None) -> None:
    """Print the settings in force, as JSON."""
    print_json(Settings.load(cli.data_dir, config=path).show())


@config.command(name="list")
def list_() -> None:
    """List every setting, its environment variable and what it may be."""
    print_table(
        ["SETTING", "ENVIRONMENT", "ALLOWED", "MEANING"],
        [[s.key, s.environment, s.allowed, s.meaning] for s in SETTINGS],
    )
