"""Redaction of audit events before they touch a disk: rules as data, one engine for app and receiver."""

from __future__ import annotations

from otel_audit.exporter.redaction.engine import Redactor
from otel_audit.exporter.redaction.identity import session_hash
from otel_audit.exporter.redaction.rules import Rule, RuleError, RuleSet, load_rules

__all__ = [
    "Redactor",
    "Rule",
    "RuleError",
    "RuleSet",
    "load_rules",
    "session_hash",
]
