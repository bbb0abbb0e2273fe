"""What one request, and all requests together, may take."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

from .errors import Throttled, TooLarge


@dataclass(frozen=True, slots=True)
class IngestLimits:
    """Bounds of the receiver, each with its reason.

    body_bytes_max: one request, before and after decompression (64 MiB is what OTLP recommends).
    records_max: one request; six times the Collector's default batch.
    row_bytes_max: one event; a record of the write-ahead log holds at least one.
    values_max: messages or JSON containers in one request; each costs about 250 bytes of memory when parsed,
      while 2 bytes of a request can ask for one.
    in_flight_bytes_max: bodies of all HTTP requests together, compressed and not.
    threads: requests decoded at once by each of the two listeners; more would only contend for the cores.
    body_read_s_max: how long a client may take to send one HTTP body.
    """

    body_bytes_max: int = 64 << 20
    records_max: int = 50_000
    row_bytes_max: int = 16 << 20
    values_max: int = 2_000_000
    in_flight_bytes_max: int = 256 << 20
    threads: int = 8
    body_read_s_max: float = 60.0

    def check_body(self, size: int) -> None:
        """Raises TooLarge when a body of `size` bytes is more than one request may hold."""
        if size > self.body_bytes_max:
            raise TooLarge(
                f"more than {self.body_bytes_max} bytes in one request", hint="send smaller batches"
            )

    def check_records(self, count: int) -> None:
        """Raises TooLarge when `count` records are more than one request may hold."""
        if count > self.records_max:
            raise TooLarge(
                f"more than {self.records_max} log records in one request", hint="send smaller batches"
            )

    def check_rows(self, batch: pa.RecordBatch) -> None:
        """Raises TooLarge when an event is larger than what the log may hold in one record."""
        if batch.nbytes <= self.row_bytes_max:
            return
        if any(batch.slice(index, 1).nbytes > self.row_bytes_max for index in range(batch.num_rows)):
            raise TooLarge(f"more than {self.row_bytes_max} bytes in one event", hint="record less in it")

    def check_values(self, count: int) -> None:
        """Raises TooLarge when `count` values are more than one request may hold."""
        if count > self.values_max:
            raise TooLarge(f"more than {self.values_max} values in one request", hint="send smaller batches")


class ByteBudget:
    """Bytes that many requests share; what does not fit is refused at once instead of queued."""

    def __init__(self, bytes_max: int) -> None:
        self._left = bytes_max
        self._lock = threading.Lock()

    @contextmanager
    def request(self) -> Iterator[Share]:
        """One request's share, given back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            self._move(-share.taken)

    def _move(self, count: int) -> bool:
        with self._lock:
            if count > self._left:
                return False
            self._left -= count
            return True


class Share:
    """What one request has taken of a budget."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.taken = 0

    def take(self, count: int) -> None:
        """Raises Throttled when `count` more bytes do not fit."""
        if not self._budget._move(count):
            raise Throttled("too many bytes in flight", hint="send again in a second")
        self.taken += count
