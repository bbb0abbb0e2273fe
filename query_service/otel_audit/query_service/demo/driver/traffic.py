"""Everybody at work at once: first everything that can happen once, then by weight, until cancelled."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Final

import httpx

from .cast import ACME, Persona
from .pace import Pace
from .scenarios import SCENARIOS, Scenario
from .visitor import Visitor

log = logging.getLogger(__name__)

THINK_S: Final = (0.1, 1.0)
PATIENT_S: Final = (1.0, 3.0)
"""Pause of whoever has nothing new to do while others still have: turns are few at the start."""
AWAY_S: Final = 0.5
"""Pause after the app did not answer; it is being stopped, or busy."""


class Traffic:
    """The people and what they have not yet done."""

    def __init__(self, people: Sequence[Persona], base_url: str, pace: Pace) -> None:
        self._people = people
        self._base_url = base_url
        self._pace = pace
        self._undone = list(SCENARIOS)
        self._webhook_keys: dict[str, list[tuple[str, str]]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for persona in self._people:
                group.create_task(self._live(persona), name=persona.name)

    async def _live(self, persona: Persona) -> None:
        keys = self._webhook_keys.setdefault(persona.organization, [])
        async with Visitor(persona, self._base_url, self._pace, keys) as visitor:
            mine = [scenario for scenario in SCENARIOS if scenario.suits(visitor)]
            weights = [scenario.weight for scenario in mine]
            while True:
                scenario = self._first(visitor) or random.choices(mine, weights)[0]  # noqa: S311
                try:
                    await scenario.run(visitor)
                except httpx.TransportError as error:
                    log.debug("%s: %s", persona.name, type(error).__name__)
                    visitor.forget_session()
                    await asyncio.sleep(AWAY_S)
                await asyncio.sleep(self._pause_s(visitor))

    def _pause_s(self, visitor: Visitor) -> float:
        if self._suitable(visitor):
            return random.uniform(*THINK_S)  # noqa: S311
        return visitor.persona.rest * random.uniform(*(PATIENT_S if self._undone else THINK_S))  # noqa: S311

    def _first(self, visitor: Visitor) -> Scenario | None:
        """Something that nobody has done yet and this person can do."""
        suitable = self._suitable(visitor)
        if not suitable:
            return None
        # What only few can do comes first; for the rest others will be found.
        scenario = min(suitable, key=lambda one: len(one.roles))
        self._undone.remove(scenario)
        return scenario

    def _suitable(self, visitor: Visitor) -> list[Scenario]:
        # The first organization only, whose trail the console opens with.
        if visitor.persona.organization != ACME:
            return []
        return [scenario for scenario in self._undone if scenario.suits(visitor)]
