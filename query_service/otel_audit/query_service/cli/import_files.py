"""`otel-audit import`: events of files, through the same redaction into the same store."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from otel_audit.exporter.importing.evidence import Evidence
from otel_audit.exporter.importing.importer import Counts, Importer
from otel_audit.exporter.importing.kept_aside import KeptAside
from otel_audit.exporter.importing.source import Line, Source, SourceDamaged
from otel_audit.exporter.receiver.redact import BatchRedactor
from otel_audit.exporter.receiver.rows import RowMaker
from otel_audit.exporter.redaction.engine import Redactor
from otel_audit.exporter.redaction.rules import load_rules
from otel_audit.exporter.store.regions.keyring import Keyring
from otel_audit.exporter.store.regions.known import refuse_gone

from ..app.policies import policies
from ..app.row_targets import row_target
from ..control.database import ControlDatabase
from ..control.holds import Holds
from ..control.import_events import ImportRecord
from ..control.outbox import Outbox
from ..control.tenants import Tenants
from ..held_rows import HeldArrivals
from .context import CliContext, json_option, pass_cli, print_json, visible

# A file of another kind would fill the screen; all of them are in the file that is kept aside.
_SHOWN_MAX: Final = 50


@click.command("import")
@click.option("--tenant", required=True, metavar="ID", help="The organization the events are of.")
@click.option(
    "--historic", is_flag=True, help="File events under their own dates; expired ones only when held."
)
@click.option(
    "--allow-expired", is_flag=True, help="Also those whose retention is over: they go with its next run."
)
@json_option
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path, dir_okay=False)
)
@click.pass_context
@pass_cli
def import_files(
    cli: CliContext,
    ctx: click.Context,
    tenant: str,
    historic: bool,
    allow_expired: bool,
    as_json: bool,
    files: tuple[Path, ...],
) -> None:
    """Import OTLP JSON lines (the Collector's file exporter) or exported NDJSON; - is standard input.

    Files may be compressed with gzip or zstd. What is stored already is not stored twice, so an import that
    was interrupted is simply run again. Exits 1 when a line or an event was refused, or a file is damaged.
    """
    if allow_expired and not historic:
        raise click.UsageError("--allow-expired goes with --historic", ctx)
    with contextlib.ExitStack() as stack:
        # All of them first: a slip in the last name must not be found after hours.
        sources = [(str(path), stack.enter_context(_opened(path))) for path in files]
        database = stack.enter_context(cli.control())
        Tenants(database).show(tenant)
        counts, aside, damaged = _run(cli, database, tenant, sources, historic, allow_expired)
    if as_json:
        print_json({**dataclasses.asdict(counts), "kept_aside": str(aside) if aside else None})
    else:
        click.echo(
            f"{counts.lines:,} lines, {counts.events:,} events: {counts.new:,} new, "
            f"{counts.repeats:,} repeats, {counts.rejected:,} rejected"
        )
        for count, why in (
            (counts.held, "expired events are stored because a legal hold keeps them"),
            (counts.expired, "events are expired and not held: the next retention run deletes them"),
        ):
            if count:
                click.echo(f"{count:,} {why}", err=True)
        if aside is not None:
            click.echo(f"rejected ones are listed, redacted, in {aside}", err=True)
    for name, error in damaged:
        # The summary says what was stored all the same, so the other errors are told before the last.
        if (name, error) != damaged[-1]:
            click.echo(visible(f"error: {name}: {error.message}"), err=True)
        else:
            raise SourceDamaged(f"{name}: {error.message}", hint=error.hint)
    ctx.exit(1 if counts.rejected else 0)


def _run(
    cli: CliContext,
    database: ControlDatabase,
    tenant: str,
    sources: list[tuple[str, io.BufferedReader]],
    historic: bool,
    allow_expired: bool,
) -> tuple[Counts, Path | None, list[tuple[str, SourceDamaged]]]:
    root = cli.region_root(Tenants(database).show(tenant).region)
    refuse_gone(root, tenant)
    rules = load_rules()
    redactor = Redactor(rules, matcher="re2")
    keyring = Keyring(root.keys)
    # The outbox is a disk too, and a file's name says whatever somebody typed.
    names = [redactor.text(name, personal=True, field="file")[0] for name, _ in sources]
    options = {"historic": historic, "allow_expired": allow_expired}
    record = ImportRecord(Outbox(database), tenant, names, options)
    aside = KeptAside(root.quarantine(tenant), redactor)
    months = Tenants(database).retention_of(tenant, datetime.now(UTC))
    held = HeldArrivals(Holds(database), tenant)
    with row_target(cli.settings()) as target, _Display() as display, contextlib.closing(held):
        importer = Importer(
            tenant,
            RowMaker(BatchRedactor(redactor, keyring, policies(Tenants(database))), keyring),
            Evidence(rules),
            target,
            aside,
            historic=historic,
            months=months,
            allow_expired=allow_expired,
            held=held,
            on_rejected=display.rejected,
        )
        completed, kept = False, None
        damaged: list[tuple[str, SourceDamaged]] = []
        # Recorded while the store is open, so that without a server it takes the event in at its end.
        record.started()
        try:
            for name, raw in sources:
                try:
                    importer.load(name, display.followed(name, Source(raw)))
                except SourceDamaged as error:
                    damaged.append((name, error))
            completed = not damaged
        finally:
            importer.close()
            kept = aside.close()
            record.ended(dataclasses.asdict(importer.counts), completed=completed)
        return importer.counts, kept, damaged


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    if str(path) == "-":
        yield sys.stdin.buffer  # type: ignore[misc]
        return
    with path.open("rb") as raw:
        yield raw


class _Display:
    """A bar on a terminal, and the first refused lines on stderr."""

    def __init__(self) -> None:
        columns: tuple[Any, ...] = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[lines]:,} lines", markup=False),
            TimeElapsedColumn(),
        )
        self._progress = Progress(
            *columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
        )
        self._rejected = 0

    def __enter__(self) -> _Display:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def followed(self, name: str, source: Source) -> Iterator[Line]:
        """The lines of a source, with the bar moving along."""
        task: TaskID = self._progress.add_task(visible(Path(name).name), total=source.size, lines=0)
        for line in source.lines():
            yield line
            self._progress.update(task, completed=source.position or 0, lines=line.number)

    def rejected(self, file: str, line: int, reason: str) -> None:
        self._rejected += 1
        if self._rejected <= _SHOWN_MAX:
            click.echo(visible(f"{file}:{line}: {reason}"), err=True)
        if self._rejected == _SHOWN_MAX:
            click.echo("further ones are only counted here", err=True)
