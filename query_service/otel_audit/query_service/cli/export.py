"""`otel-audit export`: a file of all events of a filter."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.progress import DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from otel_audit.instrumentation.errors import AuditError

from ..export import export as rows_of
from .context import CliContext, pass_cli
from .filter_options import chosen_filters, filter_options
from .local_read import LocalRead, filter_details


class OutputExists(AuditError):
    """The file to write is there already."""


@click.command()
@click.option("--tenant", required=True, metavar="ID", help="The organization.")
@click.option(
    "--format", "form", type=click.Choice(["csv", "ndjson", "parquet"]), default="csv", show_default=True
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="File to write, - for stdout.",
)
@filter_options
@pass_cli
def export(cli: CliContext, /, tenant: str, form: str, output: Path, **chosen: Any) -> None:
    """Write every event of a filter to a file, oldest first. The export itself is recorded."""
    filters = chosen_filters(chosen)
    with cli.control() as database:
        read = LocalRead(cli, database, tenant)
        filters = read.finding(filters)
        read.record("export", {**filter_details(filters), "format": form})
        chunks = rows_of(read.engine, read.source, tenant, filters, form)
        if str(output) == "-":
            for chunk in chunks:
                sys.stdout.buffer.write(chunk)
            return
        temporary = output.with_name(f".{output.name}.part")
        if output.exists():
            raise OutputExists(f"{output} exists", hint="choose another name with -o")
        columns = (TextColumn("exporting"), DownloadColumn(), TimeElapsedColumn())
        with Progress(*columns, transient=True, disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("export", total=None)
            file = temporary.open("xb")
            try:
                with file:
                    for chunk in chunks:
                        file.write(chunk)
                        progress.advance(task, len(chunk))
                temporary.rename(output)  # whole or not at all
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    click.echo(f"{output}: {output.stat().st_size:,} bytes", err=True)
