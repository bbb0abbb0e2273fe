"""`otel-audit`: the commands by name, loaded when used, and the one place where errors become text."""

from __future__ import annotations

import errno
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final, NoReturn

import click

from otel_audit.instrumentation.errors import AuditError

from ..launcher import INTERRUPTED
from .context import (
    DATA_DIR_ENVIRONMENT,
    DEFAULT_DATA_DIR,
    CliContext,
    config_option,
    data_dir_option,
    visible,
)

PROGRAM: Final = "otel-audit"

_HERE: Final = "otel_audit.query_service.cli"
# Name → where the click command is, and what --help says without loading it.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "serve": (f"{_HERE}.serve:serve", "Run receiver, store, API and console."),
    "demo": (f"{_HERE}.demo:demo", "Run everything with a small audited app and traffic."),
    "tenant": (f"{_HERE}.tenant:tenant", "Add, change, list, hand over and delete organizations."),
    "key": (f"{_HERE}.key:key", "Make, rotate and revoke ingest keys."),
    "token": (f"{_HERE}.token:token", "Make and revoke bearer tokens and login links."),
    "search": (f"{_HERE}.search:search", "Find events of an organization."),
    "tail": (f"{_HERE}.tail:tail", "Watch events of an organization arrive."),
    "export": (f"{_HERE}.export:export", "Write events to a CSV, NDJSON or Parquet file."),
    "import": (f"{_HERE}.import_files:import_files", "Store events of OTLP JSON or NDJSON files."),
    "sql": (f"{_HERE}.sql:sql", "Run SQL over the events of an organization."),
    "files": (f"{_HERE}.files:files", "List the Parquet files for other engines."),
    "retention": (f"{_HERE}.retention:retention", "Delete what is older than its retention."),
    "hold": (f"{_HERE}.hold:hold", "Keep events whatever their retention, and let go again."),
    "verify": (f"{_HERE}.verify:verify", "Check every file against the manifest and its chain."),
    "scrub": (f"{_HERE}.scrub:scrub", "Read every file again and set damaged ones aside."),
    "checkpoint": (f"{_HERE}.checkpoint:checkpoint", "Write down where the chain ends, to keep elsewhere."),
    "backup": (f"{_HERE}.backup:backup", "Copy everything, beside a running server or without one."),
    "restore": (f"{_HERE}.restore:restore", "Make a data directory from a backup."),
    "redact": (f"{_HERE}.redact:redact", "Show what redaction does to standard input."),
    "config": (f"{_HERE}.config:config", "Check and show the configuration."),
    "doctor": (f"{_HERE}.doctor:doctor", "Say what would silently not be recorded."),
}

_HINTS: Final = {
    errno.ENOSPC: "make room on the disk and run the command again",
    errno.EDQUOT: "the quota is used up: make room and run the command again",
    errno.EEXIST: "another run may be writing it; if none is, delete it and run the command again",
    errno.EROFS: "the disk is mounted read-only: mount it writable, or name a folder elsewhere",
}
_CONTEXT: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class LazyGroup(click.Group):
    """Imports a command's module only when that command runs, so that --help answers at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, (where, _) in COMMANDS.items() if _is_there(where)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None or not _is_there(entry[0]):
            return None
        module, _, attribute = entry[0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        _accept_everywhere(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, context_settings=_CONTEXT)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_DATA_DIR,
    envvar=DATA_DIR_ENVIRONMENT,
    show_default=True,
    show_envvar=True,
    help="Where everything is kept.",
)
@click.version_option(version("otel-audit"), prog_name=PROGRAM)
@click.pass_context
def cli(ctx: click.Context, data_dir: Path) -> None:
    """A complete, durable, redacted and provable audit trail."""
    ctx.obj = CliContext(data_dir)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit: 0 done, 1 failed, 2 wrongly used, 130 interrupted."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit status. Errors are one line and a hint on stderr."""
    try:
        code = cli.main(list(arguments), prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except AuditError as error:
        return _fail(error.message, error.hint, status=getattr(error, "exit_status", 1))
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else PROGRAM
        return _fail(error.format_message(), f"see '{path} --help'", status=2)
    except click.ClickException as error:
        return _fail(error.format_message(), "", status=error.exit_code)
    except click.Abort:
        return INTERRUPTED
    except OSError as error:
        if error.errno == errno.EPIPE:
            # Whoever read our output has gone; Python would complain again when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        return _fail(_cause(error), _HINTS.get(error.errno or 0, "check the path, its owner and its mode"))
    return code if isinstance(code, int) else 0


def _fail(message: str, hint: str, *, status: int = 1) -> int:
    click.echo(f"error: {visible(' '.join(message.split()))}", err=True)
    if hint:
        click.echo(f"hint: {visible(' '.join(hint.split()))}", err=True)
    return status


def _cause(error: OSError) -> str:
    text = error.strerror or str(error)
    return f"{text}: {error.filename}" if error.filename is not None else text


def _is_there(where: str) -> bool:
    return importlib.util.find_spec(where.partition(":")[0]) is not None


def _accept_everywhere(command: click.Command) -> None:
    """Every command takes --data-dir and --config, so they are added to those without one of their own."""
    for name, option in (("--data-dir", data_dir_option), ("--config", config_option)):
        if not any(name in parameter.opts for parameter in command.params):
            option(command)
    if isinstance(command, click.Group):
        for member in command.commands.values():
            _accept_everywhere(member)
