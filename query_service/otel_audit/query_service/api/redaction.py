"""Which redaction rules an organization's events meet, what its policy says, and how often each rule hit."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from otel_audit.exporter.redaction.catalogue import RuleFacts, catalogue
from otel_audit.exporter.redaction.policed import stored_version
from otel_audit.exporter.redaction.policy import POLICY_VERSION
from otel_audit.exporter.redaction.rules import load_rules
from otel_audit.exporter.redaction.tenant_policy import Policy
from otel_audit.query_service.aggregate import redaction_hits
from otel_audit.query_service.api.call import Call, answer
from otel_audit.query_service.filters import Filters

_rules = lru_cache(maxsize=16)(lambda enable: load_rules(enable=enable))


async def show_redaction(request: Request, call: Call) -> Response:
    """The redaction rules, the organization's policy and how often each rule hit."""
    filters = Filters.parse(call.own.items(), now=datetime.now(UTC))
    policy = await call.services.work.lookup(call.services.tenants.redaction_of, call.org)
    services = call.services
    counted = await call.query(
        request, lambda: redaction_hits(services.engine, services.source, call.org, filters)
    )
    await call.record("redaction", {"filters": {name: list(values) for name, values in filters.chosen}})
    rules = _rules(policy.enable)
    versions = {
        "base": POLICY_VERSION,
        "rules": rules.version,
        "policy": policy.version or "default",
        "stored": stored_version(policy, rules),
    }
    shown = [_shown(facts, policy, counted["hits"].get(facts.id, 0)) for facts in catalogue()]
    return answer({"versions": versions, "policy": policy.as_dict(), "rules": shown, **counted})


def _shown(facts: RuleFacts, policy: Policy, hits: int) -> dict[str, Any]:
    action = policy.of_rule(facts.id, facts.rule_class)
    return {
        "id": facts.id,
        "class": facts.rule_class,
        "kind": facts.kind,
        "enabled": action != "keep" and (facts.enabled or facts.id in policy.enable),
        "replacement": "marker" if action == "redact" else facts.replacement,
        "description": _described(facts),
        "hits": hits,
    }


def _described(facts: RuleFacts) -> str:
    """What makes the rule look, in words; its pattern is in the rule file."""
    if facts.kind == "name":
        return f"what stands under a name such as {', '.join(facts.anchors)}"
    looks = f"text with {' or '.join(facts.anchors)}" if facts.anchors else "text of a certain shape"
    return f"{looks}; checked by {facts.validator}" if facts.validator else looks
