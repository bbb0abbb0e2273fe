"""`otel-audit sql`: any SELECT over the events of one organization."""

from __future__ import annotations

import csv
import json
import sys
from itertools import islice

import click

from ..sql import run_sql
from .context import CliContext, pass_cli, print_table
from .local_read import LocalRead

# A table is read by a person; more rows want --format csv or ndjson.
_TABLE_ROWS_MAX = 1_000


@click.command()
@click.option("--tenant", required=True, metavar="ID", help="The organization.")
@click.option(
    "--format", "form", type=click.Choice(["table", "csv", "ndjson"]), default="table", show_default=True
)
@click.argument("statement", metavar="'SELECT …'")
@pass_cli
def sql(cli: CliContext, /, tenant: str, form: str, statement: str) -> None:
    """Run one SELECT over the view audit_events: all columns plus retention and date.

    Sees every acknowledged event. That a statement was run is recorded; its text is not.
    """
    with cli.control() as database:
        read = LocalRead(cli, database, tenant)
        read.record("search", {"by": "sql"})
        result = run_sql(read.source, tenant, statement)
        if form == "csv":
            writer = csv.writer(sys.stdout)
            writer.writerow(result.columns)
            writer.writerows(result.rows)
        elif form == "ndjson":
            for row in result.rows:
                line = dict(zip(result.columns, row, strict=True))
                click.echo(json.dumps(line, ensure_ascii=False, default=str))
        else:
            rows = list(islice(result.rows, _TABLE_ROWS_MAX + 1))
            print_table(
                result.columns,
                [["-" if v is None else str(v) for v in row] for row in rows[:_TABLE_ROWS_MAX]],
            )
            if len(rows) > _TABLE_ROWS_MAX:
                click.echo(f"only the first {_TABLE_ROWS_MAX} rows are shown; use --format csv", err=True)
    if result.partial:
        click.echo(f"warning: {result.partial} damaged files are left out", err=True)
