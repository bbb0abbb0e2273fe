from __future__ import annotations

import subprocess
import sys

HEAVY = (
    "pyarrow",
    "duckdb",
    "grpc",
    "starlette",
    "opentelemetry.sdk",
    "requests",
    "google.protobuf",
    "otel_audit.exporter",
)
"""What an app must not pay for by importing the instrumentation."""


def modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return set(ended.stdout.split())


def test_importing_the_instrumentation_loads_no_server_library_and_no_sdk() -> None:
    loaded = modules_after(
        "import otel_audit.instrumentation, otel_audit.instrumentation.testing\n"
        "with otel_audit.instrumentation.testing.capture() as events:\n"
        "    otel_audit.instrumentation.audit.record('data_access', 'read')\n"
        "assert len(events) == 1"
    )
    assert "otel_audit.instrumentation.audit" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_the_package_offers_few_names() -> None:
    import otel_audit.instrumentation as package

    assert len(package.__all__) <= 8
    assert all(hasattr(package, name) for name in package.__all__)
