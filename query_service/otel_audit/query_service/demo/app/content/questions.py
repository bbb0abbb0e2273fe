"""Asking, searching and exporting: everything that reads across an organization's documents."""

from __future__ import annotations

import csv
import io
import time
from typing import Final

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from otel_audit.instrumentation import audit

from ..call import EDITORS, EVERYONE, Call, Refused, new_id, route
from ..database import Database
from .retrieval import Document, compose, retrieve

ROWS_MAX: Final = 10_000
_TABLES: Final = {
    "files": "SELECT id, name, owner FROM files WHERE organization = ? LIMIT ?",
    "qa_pairs": "SELECT id, question, answer FROM qa_pairs WHERE organization = ? LIMIT ?",
}


class Questions:
    """The routes `/questions`, `/search` and `/export/…`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self) -> list[BaseRoute]:
        """What the app serves of this."""
        return [
            route("POST", "/questions", self.ask, allowed=EVERYONE),
            route("GET", "/search", self.search, allowed=EVERYONE),
            route("GET", "/export/{kind}", self.export, allowed=EDITORS),
        ]

    def ask(self, call: Call) -> Response:
        """Find passages and answer with their words."""
        question, question_id = call.text("question"), new_id("q")
        target = ("question", question_id, question)
        started = time.perf_counter()
        passages = retrieve(question, self._documents(call.organization))
        found = [
            {
                "type": p.document.kind,
                "id": p.document.id,
                "name": p.document.name,
                "score": round(p.score, 2),
            }
            for p in passages
        ]
        audit.record("data_access", "retrieve", target=target, attributes={"retrieval.passages": found})
        answer = compose(passages)
        audit.record(
            "data_access",
            "response_generate",
            target=target,
            attributes={
                "gen_ai.operation.name": "text_completion",
                "gen_ai.provider.name": "quire",
                "gen_ai.request.model": "extractive-bm25",
                "answer.text": answer,
                "answer.sources": [passage.document.id for passage in passages],
                "duration_ms": round((time.perf_counter() - started) * 1000, 1),
            },
        )
        return JSONResponse({"id": question_id, "answer": answer, "sources": found})

    def search(self, call: Call) -> Response:
        """Documents whose name or text has the words."""
        query = call.query("q")
        found = retrieve(query, self._documents(call.organization), limit=20)
        audit.record("system", "search", attributes={"search.query": query, "search.results": len(found)})
        return JSONResponse({"results": [{"id": p.document.id, "name": p.document.name} for p in found]})

    def export(self, call: Call) -> Response:
        """A table as CSV."""
        kind = call.path("kind")
        if kind not in _TABLES:
            raise Refused(404, "there is no such table")
        rows = self._database.all(_TABLES[kind], [call.organization, ROWS_MAX])
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]) if rows else ["id"])
        writer.writeheader()
        writer.writerows(rows)
        audit.record(
            "system",
            "export",
            target=("table", kind),
            attributes={
                "export.format": "csv",
                "export.rows": len(rows),
                "export.bytes": len(text.getvalue()),
            },
        )
        return Response(text.getvalue(), media_type="text/csv")

    def _documents(self, organization: str) -> list[Document]:
        files = self._database.all(
            "SELECT id, name, text FROM files WHERE organization = ? AND indexed = 1 LIMIT 1000",
            [organization],
        )
        pairs = self._database.all(
            "SELECT id, question, answer FROM qa_pairs WHERE organization = ? LIMIT 1000", [organization]
        )
        return [
            *(Document("file", row["id"], row["name"], row["text"]) for row in files),
            *(Document("qa_pair", row["id"], row["question"], row["answer"]) for row in pairs),
        ]
