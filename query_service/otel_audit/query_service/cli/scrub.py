"""`otel-audit scrub`: read every live file again now, as a running server does bit by bit all day."""

from __future__ import annotations

import click

from ..app.core import Core
from ..app.local_control import ask_server, scrub_report
from .context import CliContext, json_option, pass_cli, print_json


@click.command()
@json_option
@click.pass_context
@pass_cli
def scrub(cli: CliContext, ctx: click.Context, as_json: bool) -> None:
    """Read every file again and compare it with the manifest.

    A file whose bytes differ is moved to _quarantine/; answers say that its events are missing.
    Exits 1 when there is damage.
    """
    report = ask_server(cli.data_dir, "scrub")
    if report is None:
        core = Core(cli.settings(), create=False)
        try:
            report = scrub_report(core.store.scrub())
        finally:
            core.close()
    if as_json:
        print_json(report)
    else:
        click.echo(f"{report['files']:,} files, {report['bytes']:,} bytes read")
        for damage in report["damages"]:
            click.echo(f"error: {damage}", err=True)
    if report["damages"]:
        click.echo("hint: put the named files back from a backup; answers leave them out meanwhile", err=True)
        ctx.exit(1)
