"""What every command shares: the data directory, how to print, and how durations are written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from otel_audit.exporter.store.backup_list import refuse_copies

from ..control.database import FILE_NAME, ControlDatabase

DEFAULT_DATA_DIR: Final = Path("audit-data")
DATA_DIR_ENVIRONMENT: Final = "OTEL_AUDIT_DATA_DIR"

_DURATION: Final = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
# Ten years; a longer one is a slip of the keyboard.
_DURATION_MAX_S: Final = 3_653 * 86_400

C = TypeVar("C", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class CliContext:
    """Given to every command as `click.Context.obj`."""

    data_dir: Path

    @contextmanager
    def control(self, *, create: bool = False) -> Iterator[ControlDatabase]:
        """The control database, closed afterwards. Raises as ControlDatabase.open does, BackupError."""
        refuse_copies(self.data_dir)  # even a reading is recorded, and would change a backup
        database = ControlDatabase.open(self.data_dir / FILE_NAME, create=create)
        try:
            yield database
        finally:
            database.close()


pass_cli = click.make_pass_decorator(CliContext)


class Duration(click.ParamType[float]):
    """Seconds written as 30s, 10m, 8h or 90d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        found = _DURATION.fullmatch(str(value))
        seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
        if not 0 < seconds <= _DURATION_MAX_S:
            self.fail(f"{value!r} is not a duration such as 30s, 10m, 8h or 90d", param, ctx)
        return float(seconds)


def data_dir_option(command: C) -> C:
    """Lets a command take --data-dir itself; it wins over the one before the command's name."""
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        expose_value=False,
        callback=_use_data_dir,
        help="Where everything is kept.",
    )(command)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(value: object) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns on stdout; control characters are shown, never sent to the terminal."""
    cells = [[visible(cell) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in [list(headings), *cells]) for at in range(len(headings))]
    for row in [list(headings), *cells]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def visible(text: str) -> str:
    """`text` on one line and without anything a terminal would act on."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def _use_data_dir(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.obj = CliContext(value)
