from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

from otel_audit.instrumentation import audit
from otel_audit.instrumentation.config import ENVIRONMENT
from otel_audit.instrumentation.vocabulary import CATALOGUE, default_outcome

PAGE = (Path(__file__).parents[2] / "docs" / "instrumentation.md").read_text(encoding="utf-8")


def rows(first_cell: str) -> list[list[str]]:
    """The cells of the table whose header starts with `first_cell`."""
    table = PAGE.split(f"| {first_cell} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_the_actions_table_is_the_catalogue() -> None:
    assert rows("category") == [
        [
            action.category,
            f"`{action.name}`",
            action.severity,
            default_outcome(action.category, action.name),
            f"`{action.owasp}`" if action.owasp else "–",
            action.summary,
        ]
        for action in CATALOGUE.values()
    ]


def test_the_environment_table_is_what_the_code_reads() -> None:
    assert rows("variable") == [[f"`{variable.name}`", variable.meaning] for variable in ENVIRONMENT]


def test_every_variable_gives_a_setting_of_configure() -> None:
    settings = inspect.signature(audit.configure).parameters
    assert {variable.setting for variable in ENVIRONMENT} <= set(settings)


def test_the_pages_example_app_runs() -> None:
    example = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    assert "audit.configure(" in example
    # All but the configuration, which would start sending.
    code = "\n".join(line for line in example.splitlines() if not line.startswith("audit.configure("))
    names: dict[str, Any] = {}
    exec(compile(code, "docs/instrumentation.md", "exec"), names)
    assert names["app"].routes[0].path == "/files/{file_id}"
