"""Blocking work off the event loop: bounded threads, and a bound on who waits for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread
from starlette.requests import Request

from otel_audit.query_service.api.problems import Problem, unavailable

T = TypeVar("T")

# DuckDB runs each query on several threads of its own: more at once only share the same cores and memory.
QUERIES_MAX: Final = 4
# Look-ups in the control database and durable audit records: short, and mostly waiting for the disk.
LOOKUPS_MAX: Final = 16
# As long as the engine lets one query run: after that nobody waits for an answer any more.
WAIT_MAX_S: Final = 30.0
# Behind so many the wait would be over before the turn comes.
WAITING_MAX: Final = 128


class ClientGone(Exception):
    """The client went away while its answer was being made."""


class WorkPool:
    """Threads for blocking calls. One for a process; safe on one event loop."""

    def __init__(
        self,
        *,
        queries_max: int = QUERIES_MAX,
        lookups_max: int = LOOKUPS_MAX,
        waiting_max: int = WAITING_MAX,
        wait_max_s: float = WAIT_MAX_S,
    ) -> None:
        self._queries = CapacityLimiter(queries_max)
        self._lookups = CapacityLimiter(lookups_max)
        self._waiting_max = waiting_max
        self._wait_max_s = wait_max_s

    async def lookup(self, call: Callable[..., T], *args: Any) -> T:
        """Run a short blocking call. Raises Problem 503 when too many wait already."""
        self._refuse_when_crowded(self._lookups)
        return await to_thread.run_sync(call, *args, limiter=self._lookups)

    async def step(self, call: Callable[..., T], *args: Any) -> T:
        """Run one step of a long answer in a query's place, given back after it; no deadline of its own."""
        return await to_thread.run_sync(call, *args, limiter=self._queries)

    async def query(self, request: Request, call: Callable[[], T]) -> T:
        """Run a query; the engine ends it at its own deadline.

        Waiting for a place ends when the client goes away or the wait has lasted too long. A thread is
        never abandoned: its place stays taken until the query has really stopped, so that clients that
        come and go cannot pile up queries. Raises Problem 503, ClientGone and what the query raises.
        """
        self._refuse_when_crowded(self._queries)
        outcome: list[T] = []
        failure: Exception = ClientGone()
        async with anyio.create_task_group() as group:
            waiting = True

            def run() -> T:
                nonlocal waiting
                waiting = False
                return call()

            async def leave_when_late() -> None:
                nonlocal failure
                await anyio.sleep(self._wait_max_s)
                if waiting:
                    failure = _busy()
                    group.cancel_scope.cancel()

            group.start_soon(_leave_when_gone, request, group.cancel_scope)
            group.start_soon(leave_when_late)
            try:
                outcome.append(await to_thread.run_sync(run, limiter=self._queries))
            except Exception as error:  # noqa: BLE001 - carried out of the group, which would wrap it
                failure = error
            group.cancel_scope.cancel()
        if outcome:
            return outcome[0]
        raise failure

    def _refuse_when_crowded(self, limiter: CapacityLimiter) -> None:
        if limiter.statistics().tasks_waiting >= self._waiting_max:
            raise _busy()


async def _leave_when_gone(request: Request, scope: anyio.CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _busy() -> Problem:
    return unavailable("The server is busy.", hint="Try again in a moment.")
