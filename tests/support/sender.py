"""A client that does not give up, and knows what was acknowledged."""

from __future__ import annotations

import random
import threading
import time

from otel_audit.instrumentation.ids import uuid7
from tests.support.otlp_client import post, record, request


class Sender(threading.Thread):
    """Sends batches until told to stop; repeats each one until it is acknowledged, as real clients do."""

    def __init__(self, address: str, key: str) -> None:
        super().__init__(daemon=True)
        self.address, self.key = address, key
        self.acknowledged: list[str] = []
        self.repeats = 0
        self.finish = threading.Event()

    def run(self) -> None:
        while not self.finish.is_set():
            ids = [uuid7() for _ in range(random.randint(1, 40))]
            body = request([record(record_id=i) for i in ids]).SerializeToString()
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                try:
                    status, _ = post(self.address, self.key, body)
                except OSError:
                    status = 0
                if status == 200:
                    self.acknowledged += ids
                    break
                self.repeats += 1
                time.sleep(0.02)
            else:
                raise AssertionError("a batch was never acknowledged")
