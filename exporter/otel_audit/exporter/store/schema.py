"""The columns of an audit event, in the order users see them in Parquet, SQL and CSV.

Columns are only ever appended (docs/parquet-layout.md). Three schemas are cut from the one table:
`RECEIVED` leaves the decoder, `ROW` goes into a WAL frame, `PARQUET` into a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import pyarrow as pa

from .errors import NewerData

# Raised with every new column, and entry.MANIFEST_VERSION with it: that one refuses newer files at the start.
SCHEMA_VERSION: Final = 1
SCHEMA_VERSION_KEY: Final = b"otel_audit.schema_version"

TEXT: Final = pa.string()
TEXT_LIST: Final = pa.list_(pa.string())
MICROS_UTC: Final = pa.timestamp("us", tz="UTC")
REDACTIONS: Final = pa.list_(
    pa.struct([("rule", pa.string()), ("field", pa.string()), ("count", pa.int32())])
)


class Column(NamedTuple):
    name: str
    type: pa.DataType
    meaning: str


COLUMNS: Final[tuple[Column, ...]] = (
    Column("tenant", TEXT, "organization the event belongs to"),
    Column("writer", TEXT, "id of the writer that numbered the event"),
    Column("seq", pa.int64(), "number given by the writer, gapless per tenant and writer, from 1"),
    Column("event_id", TEXT, "UUID of the event, the idempotency key"),
    Column("time", MICROS_UTC, "when it happened, by the emitter's clock"),
    Column("observed_time", MICROS_UTC, "when the SDK or Collector saw it"),
    Column("received_time", MICROS_UTC, "when the receiver took it"),
    Column("time_unix_nano", pa.int64(), "time with full precision, ns since 1970-01-01 UTC"),
    Column("category", TEXT, "authentication, data_access, security or system"),
    Column("action", TEXT, "what was done, lower snake case"),
    Column("event_name", TEXT, "audit.<category>.<action>, or the name as received"),
    Column("outcome", TEXT, "success, failure, denied or unknown"),
    Column("severity", TEXT, "info, warning, error or critical"),
    Column("severity_number", pa.int32(), "OpenTelemetry severity number, 0 to 24"),
    Column("message", TEXT, "one-line human summary"),
    Column("user_id", TEXT, "who did it"),
    Column("user_email", TEXT, "their e-mail address"),
    Column("user_name", TEXT, "their name"),
    Column("user_type", TEXT, "user, service, system or anonymous"),
    Column("user_roles", TEXT_LIST, "their roles at that moment"),
    Column("on_behalf_of", TEXT, "for whom, when they acted for somebody else"),
    Column("client_address", TEXT, "IP address of the client"),
    Column("user_agent", TEXT, "User-Agent header of the client"),
    Column("session_id", TEXT, "hash of the session id, never the id"),
    Column("resource_type", TEXT, "kind of the thing acted on: file, source, qa_pair, user, …"),
    Column("resource_id", TEXT, "its id"),
    Column("resource_name", TEXT, "its name"),
    Column("request_id", TEXT, "UUID of the user's request, the same across services"),
    Column("trace_id", TEXT, "32 hex digits"),
    Column("span_id", TEXT, "16 hex digits"),
    Column("service_name", TEXT, "service.name of the emitter"),
    Column("service_version", TEXT, "service.version of the emitter"),
    Column("service_instance_id", TEXT, "service.instance.id of the emitter"),
    Column("deployment_environment", TEXT, "deployment.environment.name of the emitter"),
    Column("http_method", TEXT, "http.request.method"),
    Column("http_route", TEXT, "http.route"),
    Column("http_status", pa.int32(), "http.response.status_code"),
    Column("changes", TEXT, "JSON object field → {before, after}, changed fields only"),
    Column("attributes", TEXT, "JSON object, every attribute without a column of its own"),
    Column("otel_resource", TEXT, "JSON object, the emitter's resource attributes"),
    Column("redactions", REDACTIONS, "which rule changed which field, how often"),
    Column("flags", TEXT_LIST, "what the receiver noticed: invalid, time_skewed, id_conflict, …"),
    Column("emitter_id", TEXT, "who numbered the event at its source"),
    Column("emitter_seq", pa.int64(), "its number there, for completeness"),
    Column("policy_version", TEXT, "version of the redaction policy that saw the event"),
    Column("content_digest", TEXT, "128-bit HMAC of the record as received, 32 hex digits"),
)

COLUMN_NAMES: Final = tuple(column.name for column in COLUMNS)
JSON_COLUMNS: Final = ("changes", "attributes", "otel_resource")
FREE_TEXT: Final = (
    "action", "client_address", "user_agent", "user_id", "user_email", "user_name",
    "resource_name", "resource_id", "message",
)  # fmt: skip
"""What a free-text search looks into."""
# `retention` and `date` choose the partition; they are in the path only.
PARTITION_FIELDS: Final = (pa.field("retention", TEXT), pa.field("date", TEXT))
# Set by the writer, one value or one range a frame.
_BY_WRITER: Final = frozenset({"tenant", "writer", "seq"})
_BY_REDACTION: Final = frozenset({"redactions", "policy_version", "content_digest"})


def _fields(without: frozenset[str]) -> list[pa.Field]:
    return [pa.field(c.name, c.type) for c in COLUMNS if c.name not in without]


ROW: Final = pa.schema([*_fields(_BY_WRITER), *PARTITION_FIELDS])
"""One WAL frame's rows: everything but tenant, writer and seq, plus the partition they go to."""

RECEIVED: Final = pa.schema(
    [
        *_fields(_BY_WRITER | _BY_REDACTION),
        *PARTITION_FIELDS,
        pa.field("claimed_tenant", TEXT),
        pa.field("app_redactions", TEXT),
        pa.field("record_digest", pa.binary(32)),
    ]
)
"""What the decoder makes of a request, NOT yet redacted: never goes near a disk.

claimed_tenant: the payload's audit.tenant.id, or null. app_redactions: what the app says it has hidden, or
null, unchecked. record_digest: SHA-256 of the canonical
record, the input of content_digest. event_id is null where the sender gave no valid id.
"""

# Parquet readers that discover hive partitions (pyarrow, pandas) type the path's `tenant` as a dictionary
# and refuse files whose own `tenant` has another type.
PARQUET: Final = pa.schema(
    [
        pa.field(c.name, pa.dictionary(pa.int32(), pa.string()) if c.name == "tenant" else c.type)
        for c in COLUMNS
    ],
    metadata={SCHEMA_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)

VIEW: Final = pa.schema([*_fields(frozenset()), *PARTITION_FIELDS])
"""What queries see: all columns plus `retention` and `date`, the same for hot and sealed rows."""


def refuse_newer(footer: Mapping[bytes, bytes] | None, file: str) -> None:
    """Raise NewerData for a Parquet file with columns that this release does not know.

    footer: the file's own key-value metadata.
    """
    version = (footer or {}).get(SCHEMA_VERSION_KEY, b"0")
    if not version.isdigit() or int(version) > SCHEMA_VERSION:
        found = version.decode(errors="replace")
        raise NewerData(
            f"{file} has schema version {found}, this release knows {SCHEMA_VERSION}",
            hint="start the newer release",
        )
