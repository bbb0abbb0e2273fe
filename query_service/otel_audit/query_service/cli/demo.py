"""`otel-audit demo`: everything on embedded defaults, with a small audited app and people who use it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import sys
from pathlib import Path
from typing import Final

import click

from otel_audit.instrumentation.errors import AuditError

from .context import CliContext

FOLDER: Final = "demo"
"""Under the default data directory; one that is named is used as it is."""


class DemoNotInstalled(AuditError):
    """The demonstration needs packages that a server does not."""


@click.command()
@click.option(
    "--for",
    "for_s",
    type=click.FloatRange(min=1, max=7 * 86_400),
    metavar="SECONDS",
    help="Stop after so long; otherwise at Ctrl-C.",
)
@click.pass_context
def demo(ctx: click.Context, for_s: float | None) -> None:
    """Run everything with a small audited app and traffic, until Ctrl-C.

    Prints one line on stdout: the address that logs into the console. The data directory is
    ./audit-data/demo unless one is named; it is kept, and a later run goes on with it.
    """
    if importlib.util.find_spec("httpx") is None:
        raise DemoNotInstalled("the demonstration needs httpx", hint='pip install "otel-audit[demo]"')
    from ..demo.demonstration import demonstrate

    asyncio.run(demonstrate(data_dir_of(ctx), for_s=for_s, say=_say, show=_show))


def data_dir_of(ctx: click.Context) -> Path:
    """The data directory named before or after the command, else the demonstration's own."""
    cli, root = ctx.ensure_object(CliContext), ctx.find_root()
    named_before = root.get_parameter_source("data_dir") is not click.core.ParameterSource.DEFAULT
    return cli.data_dir if named_before or cli.data_dir is not root.obj.data_dir else cli.data_dir / FOLDER


def _say(sentence: str) -> None:
    # The terminal may have been closed; that must not keep anything from being stopped.
    with contextlib.suppress(OSError):
        click.echo(sentence, err=True)


def _show(url: str) -> None:
    click.echo(url)
    sys.stdout.flush()
