"""The daily work: questions, files, sources, QA pairs."""

from __future__ import annotations

import random
import secrets
from typing import Final

from . import planted
from .visitor import Visitor

QUESTIONS: Final = (
    "How long do refunds take?",
    "Which incidents must be reported, and when?",
    "How many days may I work from abroad?",
    "What is the probation period for new colleagues?",
    "Are opened goods refunded at full price?",
    "How long are support tickets kept?",
    "Where will the new office open?",
    "Who needs a second factor?",
    "Is the cafeteria open on Sundays?",
)
_TOPICS: Final = ("Pricing", "Travel", "Warranty", "Data processing", "Vendor review", "Release notes")
_FORMS: Final = (".md", " draft.md", " 2025.txt")


async def ask(visitor: Visitor) -> None:
    """A question or two."""
    if await visitor.sign_in():
        visitor.new_page()
        await visitor.post("/questions", question=random.choice(QUESTIONS))  # noqa: S311


async def ask_with_a_token(visitor: Visitor) -> None:
    """A question with a token pasted into it, straight from the browser's developer tools."""
    if await visitor.sign_in():
        visitor.new_page()
        question = f"A customer's call fails with 403, why? Their token is {planted.jwt()}"
        await visitor.post("/questions", question=question)


async def look_around(visitor: Visitor) -> None:
    """Open a file and a QA pair."""
    if not await visitor.sign_in():
        return
    visitor.new_page()
    file = await visitor.pick("/files", "files")
    if file is not None:
        await visitor.get(f"/files/{file['id']}")
        if visitor.persona.role != "contractor":
            await visitor.get(f"/files/{file['id']}/content")
    pair = await visitor.pick("/qa-pairs", "qa_pairs")
    if pair is not None:
        await visitor.get(f"/qa-pairs/{pair['id']}")


async def search(visitor: Visitor) -> None:
    """Look for a word."""
    if await visitor.sign_in():
        visitor.new_page()
        word = random.choice(("refund", "travel", "second factor", "office Lisbon", "invoices"))  # noqa: S311
        await visitor.get("/search", params={"q": word})


async def work_on_a_file(visitor: Visitor) -> None:
    """Upload a file, rename it, look at it, and often throw it away again."""
    if not await visitor.sign_in():
        return
    visitor.new_page()
    name = f"{secrets.choice(_TOPICS)}{secrets.choice(_FORMS)}"
    file_id = await visitor.upload(name, f"{name}: reviewed every quarter. Ask legal before it goes out.\n")
    if not file_id:
        return
    await visitor.call("PATCH", f"/files/{file_id}", json={"name": f"{name.partition('.')[0]} final.md"})
    await visitor.get(f"/files/{file_id}/preview")
    await visitor.get(f"/files/{file_id}/content")
    if random.random() < 0.8:  # noqa: S311
        await visitor.delete(f"/files/{file_id}")


async def stumble_over_an_empty_file(visitor: Visitor) -> None:
    """Preview a file without content, which Quire does not survive."""
    if not await visitor.sign_in():
        return
    visitor.new_page()
    file_id = await visitor.upload("Meeting notes.md", "")
    if file_id:
        await visitor.get(f"/files/{file_id}/preview")
        await visitor.delete(f"/files/{file_id}")


async def write_a_qa_pair(visitor: Visitor) -> None:
    """Write a pair, mend it, sometimes drop it."""
    if not await visitor.sign_in():
        return
    visitor.new_page()
    topic = secrets.choice(_TOPICS).lower()
    answer = await visitor.post("/qa-pairs", question=f"Who owns {topic}?", answer="The operations team.")
    pair_id = answer.json().get("id")
    if pair_id:
        await visitor.put(f"/qa-pairs/{pair_id}", answer=f"The {topic} desk, since this spring.")
        if random.random() < 0.8:  # noqa: S311
            await visitor.delete(f"/qa-pairs/{pair_id}")


async def write_down_a_customers_card(visitor: Visitor) -> None:
    """Keep a customer's card number where it does not belong."""
    if not await visitor.sign_in():
        return
    visitor.new_page()
    answer = await visitor.post(
        "/qa-pairs",
        question=f"Refund for {planted.customer_email()}?",
        answer=f"Pay back to card {planted.card_number()}, then tell {planted.customer_email()}.",
    )
    if answer.is_success:
        await visitor.get(f"/qa-pairs/{answer.json()['id']}")


async def export(visitor: Visitor) -> None:
    """Take a table home."""
    if await visitor.sign_in():
        visitor.new_page()
        await visitor.get(f"/export/{secrets.choice(('files', 'qa_pairs'))}")


async def add_a_source(visitor: Visitor) -> None:
    """Add a source that works; an admin also removes one."""
    if not await visitor.sign_in():
        return
    visitor.new_page()
    if visitor.persona.role == "admin":
        source = await visitor.pick("/sources", "sources")
        if source is not None:
            await visitor.delete(f"/sources/{source['id']}")
    name = f"Employee handbook {secrets.randbelow(90) + 10}"
    await visitor.post("/sources", name=name, url=f"{visitor.base_url}/samples/handbook.txt")


async def add_a_broken_source(visitor: Visitor) -> None:
    """Add a source that nobody answers for, and try again."""
    if not await visitor.sign_in():
        return
    visitor.new_page()
    # Port 9 is the discard service, which no machine of today runs.
    answer = await visitor.post("/sources", name="Old wiki", url="http://127.0.0.1:9/export.txt")
    if answer.is_success:
        await visitor.call("POST", f"/sources/{answer.json()['id']}/sync")
