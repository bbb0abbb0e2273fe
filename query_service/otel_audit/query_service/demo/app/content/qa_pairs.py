"""QA pairs: questions with an answer that people wrote themselves."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from otel_audit.instrumentation import audit

from ..call import EDITORS, EVERYONE, STAFF, Call, Refused, new_id, route
from ..database import Database

_NAME_CHARS_MAX = 80


class QaPairs:
    """The routes `/qa-pairs…`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self) -> list[BaseRoute]:
        """What the app serves of this."""
        return [
            route("GET", "/qa-pairs", self.list, allowed=EVERYONE),
            route("POST", "/qa-pairs", self.create, allowed=STAFF),
            route("GET", "/qa-pairs/{id}", self.read, allowed=EVERYONE),
            route("PUT", "/qa-pairs/{id}", self.update, allowed=EDITORS),
            route("DELETE", "/qa-pairs/{id}", self.delete, allowed=EDITORS),
        ]

    def list(self, call: Call) -> Response:
        """Ids and questions."""
        rows = self._database.all(
            "SELECT id, question FROM qa_pairs WHERE organization = ? LIMIT 1000", [call.organization]
        )
        return JSONResponse({"qa_pairs": rows})

    def create(self, call: Call) -> Response:
        """Write a pair."""
        pair = {"id": new_id("qa"), "question": call.text("question"), "answer": call.text("answer")}
        self._database.run(
            "INSERT INTO qa_pairs (id, organization, question, answer) VALUES (?, ?, ?, ?)",
            [pair["id"], call.organization, pair["question"], pair["answer"]],
        )
        written = {name: (None, pair[name]) for name in ("question", "answer")}
        audit.record("data_access", "create", target=_target(pair), changes=written)
        return JSONResponse({"id": pair["id"]}, 201)

    def read(self, call: Call) -> Response:
        """One pair."""
        pair = self._find(call)
        audit.record("data_access", "read", target=_target(pair))
        return JSONResponse({name: pair[name] for name in ("id", "question", "answer")})

    def update(self, call: Call) -> Response:
        """Write other words; what stays the same is no change."""
        pair = self._find(call)
        after = {name: call.text(name, default=pair[name]) for name in ("question", "answer")}
        changes = {name: (pair[name], after[name]) for name in after if after[name] != pair[name]}
        self._database.run(
            "UPDATE qa_pairs SET question = ?, answer = ? WHERE id = ?",
            [after["question"], after["answer"], pair["id"]],
        )
        audit.record("data_access", "update", target=_target(pair), changes=changes)
        return Response(status_code=204)

    def delete(self, call: Call) -> Response:
        """Remove a pair."""
        pair = self._find(call)
        self._database.run("DELETE FROM qa_pairs WHERE id = ?", [pair["id"]])
        gone = {name: (pair[name], None) for name in ("question", "answer")}
        audit.record("data_access", "delete", target=_target(pair), changes=gone)
        return Response(status_code=204)

    def _find(self, call: Call) -> dict[str, Any]:
        row = self._database.one(
            "SELECT * FROM qa_pairs WHERE id = ? AND organization = ?", [call.path("id"), call.organization]
        )
        if row is None:
            raise Refused(404, "there is no such QA pair")
        return row


def _target(pair: dict[str, Any]) -> tuple[str, str, str]:
    return ("qa_pair", pair["id"], pair["question"][:_NAME_CHARS_MAX])
