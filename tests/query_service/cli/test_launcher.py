from __future__ import annotations

import subprocess
import sys

import pytest

from otel_audit.query_service.launcher import INSTALL

# Leaves nothing but what the light install has: any import of a server package fails as if not installed.
LIGHT = """
import sys
from importlib.abc import MetaPathFinder
SERVER = {"click", "duckdb", "grpc", "jinja2", "jwt", "pyarrow", "sqlalchemy", "starlette", "uvicorn"}
class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in SERVER:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name in SERVER else found(name)
from otel_audit.query_service.launcher import main
sys.argv = ["otel-audit", *sys.argv[1:]]
main()
"""

SEEN = """
import sys
before = set(sys.modules)
import otel_audit.query_service.launcher
loaded = {name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)
print(sorted(loaded))
"""

# Ctrl-C at a known moment: while the command line is imported, or in the middle of a command.
INTERRUPTED = """
import importlib, sys
from otel_audit.query_service import launcher
def interrupted(*_):
    raise KeyboardInterrupt
if sys.argv[1] == "import":
    importlib.import_module = interrupted
else:
    from otel_audit.query_service.cli import tenant
    tenant.print_table = tenant.CliContext.control = interrupted
sys.argv = ["otel-audit", "tenant", "list"]
launcher.main()
"""


def light(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LIGHT, *arguments], capture_output=True, text=True, timeout=60
    )


def test_the_launcher_itself_loads_only_the_standard_library() -> None:
    done = subprocess.run([sys.executable, "-c", SEEN], capture_output=True, text=True, timeout=60)
    assert done.stdout == "['otel_audit']\n"


def test_the_light_install_tells_its_version() -> None:
    done = light("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("otel-audit, version ")


@pytest.mark.parametrize(
    "arguments", [["serve"], ["tenant", "list"], ["search", "--help"], ["--data-dir", "x"]]
)
def test_other_commands_of_the_light_install_name_the_pip_line(arguments: list[str]) -> None:
    done = light(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert hint == f"hint: {INSTALL}"


def test_help_of_the_light_install_says_what_there_is() -> None:
    done = light("--help")
    assert done.returncode == 0
    assert "doctor" in done.stdout
    assert INSTALL in done.stdout


def test_doctor_of_the_light_install_needs_no_server_package() -> None:
    done = light("doctor")
    assert "Traceback" not in done.stderr
    assert "ModuleNotFoundError" not in done.stderr


@pytest.mark.parametrize("loaded", [False, True])
def test_ctrl_c_is_no_error_whether_the_command_runs_or_is_still_loaded(loaded: bool) -> None:
    when = "command" if loaded else "import"
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, when], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "")
