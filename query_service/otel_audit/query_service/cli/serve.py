"""`otel-audit serve`: all roles in one process."""

from __future__ import annotations

import asyncio
import json
import logging
import sys

import click
import uvloop

from .context import CliContext, Duration, pass_cli


@click.command()
@click.option("--otlp-grpc", metavar="HOST:PORT", help="Where OTLP/gRPC is taken.  [127.0.0.1:4317]")
@click.option("--otlp-http", metavar="HOST:PORT", help="Where OTLP/HTTP is taken.  [127.0.0.1:4318]")
@click.option("--http", metavar="HOST:PORT", help="Where API and console are served.  [127.0.0.1:8080]")
@click.option("--metrics", metavar="HOST:PORT", help="Where /metrics is served.  [127.0.0.1:9464]")
@click.option(
    "--lock-timeout",
    type=Duration(),
    default="60s",
    show_default=True,
    help="How long to wait for another process to leave the data directory.",
)
@pass_cli
def serve(
    cli: CliContext,
    otlp_grpc: str | None,
    otlp_http: str | None,
    http: str | None,
    metrics: str | None,
    lock_timeout: float,
) -> None:
    """Run receiver, store, API and console until SIGTERM.

    Once ready, prints one JSON line with the addresses on stdout; the log goes to stderr.
    """
    from ..app.server import serve as run

    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    flags = {
        "otlp_grpc.bind": otlp_grpc,
        "otlp_http.bind": otlp_http,
        "http.bind": http,
        "metrics.bind": metrics,
    }
    settings = cli.settings(**flags)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings, lock_timeout_s=lock_timeout, ready=_print_ready))


def _print_ready(addresses: dict[str, str]) -> None:
    click.echo(json.dumps(addresses))
    sys.stdout.flush()
