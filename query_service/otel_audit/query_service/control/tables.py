"""The tables of the control database. Times are seconds since 1970-01-01 UTC; secrets are SHA-256 only."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION: Final = 3
"""Raised by one with every change of a table; an older binary refuses a newer database.

2 added `holds` and `tenant_deletions`, 3 `region_claims` and `redaction_policies`.
"""

METADATA: Final = MetaData()

SCHEMA: Final = Table("schema_version", METADATA, Column("version", Integer, nullable=False))

TENANTS: Final = Table(
    "tenants",
    METADATA,
    Column("id", String(63), primary_key=True),
    Column("region", String(63), nullable=False),
    # JSON object class → months, what was last in force.
    Column("retention", Text, nullable=False),
    # JSON object class → {months, effective_at, reason}: shortenings that still wait.
    Column("retention_pending", Text, nullable=False),
    Column("export_rate", String(16), nullable=False),
    Column("created_at", Float, nullable=False),
)

REGION_CLAIMS: Final = Table(
    "region_claims",
    METADATA,
    # Regions whose root was opened once. Kept for ever: such a root is never new again.
    Column("region", String(63), primary_key=True),
)

TENANT_DELETIONS: Final = Table(
    "tenant_deletions",
    METADATA,
    # Kept for ever, as the row in `tenants` is: an id is never used twice, and a forwarder's key that
    # named this tenant keeps being one of several tenants.
    Column("tenant", ForeignKey("tenants.id"), primary_key=True),
    Column("actor", String(256), nullable=False),
    Column("began_at", Float, nullable=False),
    # Null while something of it is still on disk.
    Column("ended_at", Float),
)

ALIASES: Final = Table(
    "aliases",
    METADATA,
    Column("alias", String(256), primary_key=True),
    Column("tenant", ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False, index=True),
)

REDACTION_POLICIES: Final = Table(
    "redaction_policies",
    METADATA,
    # Organizations without a row have the default.
    Column("tenant", ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
    # Canonical JSON (tenant_policy.Policy).
    Column("policy", Text, nullable=False),
)

INGEST_KEYS: Final = Table(
    "ingest_keys",
    METADATA,
    Column("id", String(12), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("secret_sha256", LargeBinary(32), nullable=False),
    Column("all_tenants", Boolean, nullable=False),
    Column("create_tenants", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("revoked_at", Float),
    Column("compromised", Boolean, nullable=False),
    Column("rotated_from", String(12)),
)

INGEST_KEY_TENANTS: Final = Table(
    "ingest_key_tenants",
    METADATA,
    Column("key_id", ForeignKey("ingest_keys.id", ondelete="CASCADE"), primary_key=True),
    Column("tenant", ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
)

TOKENS: Final = Table(
    "tokens",
    METADATA,
    Column("id", String(36), primary_key=True),
    # Null for an operator's token. Not a foreign key: a deleted organization's tokens stay listed.
    Column("org", String(63)),
    Column("user", String(254), nullable=False),
    Column("role", String(16), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("revoked_at", Float),
)

TICKETS: Final = Table(
    "tickets",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("ticket_sha256", LargeBinary(32), nullable=False, unique=True),
    Column("org", String(63)),
    Column("user", String(254), nullable=False),
    Column("role", String(16), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    # How long the session may last that the ticket opens.
    Column("session_ttl_s", Float, nullable=False),
    Column("redeemed_at", Float),
    Column("revoked_at", Float),
)

SESSIONS: Final = Table(
    "sessions",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("cookie_sha256", LargeBinary(32), nullable=False, unique=True),
    # The ticket or token it was opened with: revoking that one ends the session.
    Column("opened_with", String(36), nullable=False, index=True),
    Column("org", String(63)),
    Column("user", String(254), nullable=False),
    Column("role", String(16), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("ended_at", Float),
)

OUTBOX: Final = Table(
    "outbox",
    METADATA,
    # AUTOINCREMENT: a number is never used twice, so rows drain in the order of their changes.
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("tenant", String(63), nullable=False),
    Column("record_id", String(36), nullable=False),
    Column("event", Text, nullable=False),
    UniqueConstraint("tenant", "record_id"),
    sqlite_autoincrement=True,
)

EXPORTS: Final = Table(
    "exports",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("org", String(63), nullable=False),
    Column("user", String(254), nullable=False),
    Column("started_at", Float, nullable=False),
    Column("finished_at", Float),
    # Null while it runs, then done, failed or cancelled.
    Column("outcome", String(16)),
    Index("exports_of_org", "org", "started_at"),
)

HOLDS: Final = Table(
    "holds",
    METADATA,
    # Not a foreign key: nothing that removes an organization may take a hold along.
    Column("tenant", String(63), primary_key=True),
    # Rows stay after a release, so a name means one hold for ever.
    Column("name", String(63), primary_key=True),
    Column("reason", Text, nullable=False),
    # JSON list of [filter, value], canonical (HoldScope).
    Column("filters", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("created_by", String(254), nullable=False),
    # All four null until it is released; it holds until effective_at.
    Column("released_at", Float),
    Column("effective_at", Float),
    Column("released_by", String(254)),
    Column("release_reason", Text),
)
