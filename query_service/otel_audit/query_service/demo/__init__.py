"""`otel-audit demo`: the real service, a small audited app and people who use it."""
