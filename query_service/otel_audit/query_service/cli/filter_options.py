"""The API's filters as command-line options, made from the one table."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from ..filters import FILTERS, Filters

C = TypeVar("C", bound=Callable[..., Any])

_PREFIX = "filter_"
_NOT = "not__"  # a dot is no part of a parameter's name


def filter_options(command: C) -> C:
    """Adds `--range`, `--category`, `--not-category`, …; the command takes them as **chosen."""
    for spec in reversed(FILTERS):
        several = " Repeatable." if spec.repeatable else ""
        text = spec.help[:1].upper() + spec.help[1:] + "."
        choices = f" One of: {', '.join(spec.allowed)}." if spec.allowed else ""
        if spec.negatable:
            command = click.option(
                f"--not-{spec.name.replace('_', '-')}",
                f"{_PREFIX}{_NOT}{spec.name}",
                multiple=True,
                metavar="VALUE",
                help=f"Leave out this {spec.name.replace('_', ' ')}. Repeatable.",
            )(command)
        command = click.option(
            f"--{spec.name.replace('_', '-')}",
            f"{_PREFIX}{spec.name}",
            multiple=spec.repeatable,
            metavar="VALUE",
            help=text + choices + several,
        )(command)
    return command


def chosen_items(chosen: dict[str, Any]) -> list[tuple[str, str]]:
    """The options as (name, value) pairs, unchecked, empty values too."""
    items: list[tuple[str, str]] = []
    for option, value in chosen.items():
        values = value if isinstance(value, tuple) else (value,)
        name = option.removeprefix(_PREFIX).replace(_NOT, "not.")
        items += [(name, item) for item in values if item is not None]
    return items


def chosen_filters(chosen: dict[str, Any]) -> Filters:
    """The options as filters. Raises FilterError."""
    return Filters.parse(chosen_items(chosen), now=datetime.now(UTC))
