"""What the worst megabyte costs: one value of one repeated piece, redacted as the receiver does."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

from otel_audit.exporter.redaction import Redactor, load_rules

VALUE_CHARS: Final = 1_000_000
# An event of 16 MB, the largest there is, then takes less than a second at the very worst.
MS_MAX: Final = 50.0
_CHARACTERS: Final = (
    "a", "1", "4", "-", "_", " ", ".", "@", "%", "\\", '"', "'", "{", "[", "=", ":", "é", "\u200b",
)  # fmt: skip
_NEAR_MISSES: Final = (
    "eyJ", "eyJ.", "eyJa.", "password=", "password=,", "password=a,", "password: ", "cookie:;", "cookie=a;",
    "authorization: bearer ", 'authorization=\\\\"bearer x ', "token=x ", "--token ", "pw>", "<pw>x</pw>",
    "a@", "a@b.", "a@b.co ", "://a:", "://a:b@", "4111 1111 1111 1112 ", "de12", "DE89 3704 ", "+1 2 ",
    "sk-a", "AKIA", "-----BEGIN PRIVATE KEY-----", "%41", "%25", "\\u0041", "\\/", "[REDACTED:jwt]", "é=",
    "a\u200b", "p\x00", "\uff41", "%41a", "\\u0041a", "&amp;", "QUFBQUFB", "cGFzc3dvcmQ", "(a) values (",
    "--a ", "INSERT INTO t (password) VALUES ('", "password is a",
)  # fmt: skip


def worst_values(folder: Path) -> dict[str, Any]:
    """The slowest pieces of each kind, ms of processor time for one megabyte."""
    del folder
    redactor = Redactor(load_rules(), matcher="re2")
    slowest = {
        kind: max((_ms(redactor, piece), piece) for piece in pieces)
        for kind, pieces in (("character", _CHARACTERS), ("near_miss", _NEAR_MISSES))
    }
    return {
        **{kind: {"ms": round(ms, 1), "piece": piece} for kind, (ms, piece) in slowest.items()},
        "ms_max": MS_MAX,
        "ok": slowest["character"][0] < MS_MAX and slowest["near_miss"][0] < MS_MAX,
    }


def _ms(redactor: Redactor, piece: str) -> float:
    value = (piece * (VALUE_CHARS // len(piece) + 1))[:VALUE_CHARS]
    spent = []
    for _ in range(5):
        started = time.process_time()
        redactor.text(value, personal=True, field="message")
        spent.append(1000 * (time.process_time() - started))
    return min(spent)
