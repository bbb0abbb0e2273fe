"""Every setting, command, column and filter is documented, and the docs name no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from otel_audit.exporter.store.schema import COLUMNS
from otel_audit.exporter.store.upkeep.headroom import HEADROOM_BYTES
from otel_audit.exporter.wal.segment import FREE_BYTES_MIN, RESERVE_BYTES
from otel_audit.query_service.cli.main import COMMANDS
from otel_audit.query_service.filters import FILTERS
from otel_audit.query_service.settings import SETTINGS

ROOT = Path(__file__).resolve().parents[2]


def doc(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def test_every_setting_is_documented() -> None:
    for setting in SETTINGS:
        assert f"| `{setting.key}` | `{setting.environment}` | {setting.allowed} |" in doc("operations.md")


def test_every_command_is_documented() -> None:
    named = {match.split()[0] for match in re.findall(r"`([a-z]+(?: [a-z]+)?)`", doc("cli.md"))}
    assert set(COMMANDS) <= named


def test_every_column_is_documented_in_order() -> None:
    rows = re.findall(
        r"^\| `([a-z_]+)` \|", doc("parquet-layout.md").partition("## Read it")[0], re.MULTILINE
    )
    assert rows == [column.name for column in COLUMNS]


def test_every_filter_is_an_option_of_the_commands() -> None:
    for spec in FILTERS:
        assert f"`--{spec.name.replace('_', '-')}" in doc("cli.md")


def test_every_test_that_the_page_on_faults_names_exists() -> None:
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    rows = [line for line in doc("faults.md").splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 15
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, row
        assert set(named) <= defined, set(named) - defined


def test_what_is_kept_free_of_a_disk_is_documented_with_its_size() -> None:
    page = doc("operations.md")
    for name, size in (
        ("headroom", HEADROOM_BYTES),
        ("log floor", FREE_BYTES_MIN),
        ("log reserve", RESERVE_BYTES),
    ):
        [row] = re.findall(rf"^\| {name} \| ([^|]+) \|", page, re.MULTILINE)
        assert f"{size >> 20} MiB" in row


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_links_between_pages_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", doc(page)):
        assert (ROOT / "docs" / target).exists(), target


def test_links_of_the_readme_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target


def test_no_package_hides_the_other_folders_of_the_namespace() -> None:
    for folder in ("instrumentation", "exporter", "query_service"):
        assert not (ROOT / folder / "otel_audit" / "__init__.py").exists()


ARROWS = {"instrumentation": ("exporter", "query_service"), "exporter": ("query_service",)}


@pytest.mark.parametrize("room", sorted(ARROWS))
def test_dependencies_point_one_way(room: str) -> None:
    for path in (ROOT / room).rglob("*.py"):
        text = path.read_text()
        for other in ARROWS[room]:
            assert f"otel_audit.{other}" not in re.sub(r'""".*?"""', "", text, flags=re.DOTALL), path


def test_the_files_of_the_store_know_nothing_of_their_upkeep() -> None:
    for path in (ROOT / "exporter/otel_audit/exporter/store/files").glob("*.py"):
        assert "upkeep" not in path.read_text(), path
