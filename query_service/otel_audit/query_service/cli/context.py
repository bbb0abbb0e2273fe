"""What every command shares: the data directory, how to print, and how durations are written."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

import click

from otel_audit.exporter.store.backups.backup_list import refuse_copies
from otel_audit.exporter.store.partition import DEFAULT_REGION, RegionRoot
from otel_audit.exporter.store.regions.claim import check_region
from otel_audit.exporter.store.regions.tenant_copy import refuse_handed_over

from ..control.database import FILE_NAME, ControlDatabase, disk_trouble
from ..control.region_claims import check_roots, refuse_orphans
from ..settings import ConfigError, Settings

DEFAULT_DATA_DIR: Final = Path("audit-data")
DATA_DIR_ENVIRONMENT: Final = "OTEL_AUDIT_DATA_DIR"
CONFIG_ENVIRONMENT: Final = "OTEL_AUDIT_CONFIG"
CONFIG_NAME: Final = "config.toml"
"""Read from the data directory when no other file is named."""

_DURATION: Final = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
# Ten years; a longer one is a slip of the keyboard.
_DURATION_MAX_S: Final = 3_653 * 86_400

C = TypeVar("C", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class CliContext:
    """Given to every command as `click.Context.obj`."""

    data_dir: Path
    config: Path | None = None

    def settings(self, **flags: Any) -> Settings:
        """What the server of this data directory runs with. flags: as Settings.load. Raises ConfigError."""
        path = self.config or self.data_dir / CONFIG_NAME
        used = path if self.config is not None or path.exists() else None
        return Settings.load(self.data_dir, config=used, flags=flags)

    def region_roots(self) -> dict[str, RegionRoot]:
        """Every region's root, checked as check_roots does. Raises as it does."""
        return self._roots(None)

    def region_root(self, region: str) -> RegionRoot:
        """The root of a region, as `region_roots`; another region's disk may be away meanwhile."""
        root = self._roots(region).get(region)
        if root is None:
            raise ConfigError(
                f"region {region} is not configured",
                hint=f"name the server's configuration with --config or {CONFIG_ENVIRONMENT}",
            )
        return root

    def _roots(self, only: str | None) -> dict[str, RegionRoot]:
        settings = self.settings()
        roots = {region: RegionRoot(path) for region, path in settings.region_roots.items()}
        if (self.data_dir / FILE_NAME).exists():
            with self.control_to_read() as database:
                check_roots(database, settings, only=only)
        else:
            for region, root in roots.items():
                check_region(root, region)
        return roots

    @contextmanager
    def control(self, *, create: bool = False) -> Iterator[ControlDatabase]:
        """The control database, closed afterwards.

        Raises as ControlDatabase.open does, BackupError, CopyRefused, DataGone.
        """
        refuse_copies(self.data_dir)  # even a reading is recorded, and would change a backup
        if not (self.data_dir / FILE_NAME).exists():
            refuse_handed_over(self.data_dir)
        region = DEFAULT_REGION
        if create:
            settings = self.settings()
            refuse_orphans(settings)
            region = settings.default_region
        database = ControlDatabase.open(self.data_dir / FILE_NAME, create=create, operator_region=region)
        try:
            yield database
        finally:
            database.close()

    @contextmanager
    def control_to_read(self) -> Iterator[ControlDatabase]:
        """The control database for what records nothing; a copy when the disk takes no write, which reading
        needs too. Raises as `control` does.
        """
        with ExitStack() as stack:
            if not disk_trouble(self.data_dir):
                yield stack.enter_context(self.control())
                return
            refuse_copies(self.data_dir)
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="otel-audit-")))
            for name in (FILE_NAME, f"{FILE_NAME}-wal"):
                if (self.data_dir / name).exists():
                    shutil.copyfile(self.data_dir / name, folder / name)
            database = ControlDatabase.open(folder / FILE_NAME, create=False)
            stack.callback(database.close)
            yield database


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


def config_option(command: C) -> C:
    """Lets a command take --config: it must know the regions that the server was started with."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar=CONFIG_ENVIRONMENT,
        show_envvar=True,
        expose_value=False,
        callback=_use_config,
        help="Settings, a TOML file.  [DATA_DIR/config.toml if there]",
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
        ctx.obj = dataclasses.replace(ctx.obj, data_dir=value) if ctx.obj else CliContext(value)


def _use_config(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.obj = dataclasses.replace(ctx.obj, config=value)
