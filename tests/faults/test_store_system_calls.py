"""One system call after the other fails, in every operation of the store, until none is left to fail."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_audit.exporter.store.errors import StoreUnavailable
from otel_audit.exporter.store.partition import RegionRoot
from otel_audit.exporter.store.store import Store
from otel_audit.instrumentation.errors import AuditError
from tests.support.store_operations import (
    OPERATIONS,
    Model,
    Operation,
    append,
    check_folder,
    check_readers,
    fresh,
    open_store,
)
from tests.support.wal_files import FaultyFiles
from tests.support.wal_frames import LONG, TIMEOUT_S

pytestmark = pytest.mark.timeout(TIMEOUT_S)

FAULTS = {
    "EIO_once": (errno.EIO, False, False),
    "ENOSPC_for_ever": (errno.ENOSPC, True, False),
    "short_ENOSPC": (errno.ENOSPC, True, True),
}
FAULTS_LONG = {
    "EIO_for_ever": (errno.EIO, True, False),
    "ENOSPC_once": (errno.ENOSPC, False, False),
    "EMFILE_once": (errno.EMFILE, False, False),
    "EMFILE_for_ever": (errno.EMFILE, True, False),
    "EROFS_for_ever": (errno.EROFS, True, False),
    "short_EIO": (errno.EIO, False, True),
}
if LONG:
    FAULTS |= FAULTS_LONG
# The long run fails every call; the short one every fourth with one fault, few with the others.
STEP = {"EIO_once": 1 if LONG else 4}
STEP_OTHERS = 1 if LONG else 17
# A pack deletes a thousand files one by one: past this call only some of those like it are tried.
ALIKE_FROM = 120 if LONG else 45
STRIDE = 97 if LONG else 997
# Numbers of events that are appended beside the operation's own.
DURING, AFTER, LAST = 101, 102, 103


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    folder = tmp_path_factory.mktemp("templates")
    for name, operation in OPERATIONS.items():
        operation.fill(RegionRoot(folder / name))
    yield {name: folder / name for name in OPERATIONS}
    shutil.rmtree(folder)


def opened(root: RegionRoot, fs: FaultyFiles, *, from_start: bool) -> Store | None:
    """The store with faults, from its first call on or from now on; None when it refused to start."""
    only = fs.only
    if not from_start:
        fs.only = frozenset()
    try:
        store = open_store(root, fs)
    except AuditError:
        return None
    fs.only = only
    return store


def attempt(store: Store, operation: Operation, model: Model, where: object) -> Model:
    """Work under faults: the operation and an append, each of which may be refused."""
    with contextlib.suppress(OSError, AuditError):
        operation.act(store)
    try:
        append(store, DURING)
        model = model.with_there(DURING)
    except StoreUnavailable:
        model = model.with_maybe(DURING)
    # Whatever fails, who asks is answered.
    check_readers(store, model, where)
    return model


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_whichever_call_fails_no_event_is_lost_or_doubled_and_the_store_heals(
    tmp_path: Path, templates: dict[str, Path], name: str, fault: str
) -> None:
    operation = OPERATIONS[name]
    code, for_ever, short = FAULTS[fault]
    root = RegionRoot(tmp_path / "root")
    counts: Counter[str] = Counter()
    step = STEP.get(fault, STEP_OTHERS)
    nth, fired = 1 - step, True
    while fired:
        nth += step if name != "pack" or nth < ALIKE_FROM else STRIDE
        where = (name, fault, nth)
        fresh(templates[name], root.path)
        fs = FaultyFiles(nth, code, for_ever=for_ever, short=short)
        model = operation.before()
        store = opened(root, fs, from_start=name == "start")
        if store is not None:
            model = attempt(store, operation, model, where)
        fired = fs.fired > 0 or (short and fs.calls >= nth)
        counts["faults"] += bool(fired)
        fs.heal()
        if store is not None and store.failure:
            # The server seals every second: what heals by itself heals with that.
            with contextlib.suppress(AuditError):
                store.seal()
        if store is None or store.failure:
            # Only a broken promise of the disk may ask for a restart.
            assert store is None or code == errno.EIO or store.wal.failure, (where, store.failure)
            counts["restarts"] += 1
            if store is not None:
                store.close()
            store = open_store(root)
        counts["refused"] += event_was_refused(model)
        operation.act(store)
        model = settled(operation, model)
        append(store, AFTER)
        model = model.with_there(AFTER)
        operation.act(store)
        assert operation.done(store), where
        check_readers(store, model, where)
        check_folder(store, where, tidied=False)
        store.close()
        store = open_store(root)
        append(store, LAST)
        check_readers(store, model.with_there(LAST), (where, "reopened"))
        check_folder(store, where, tidied=True)
        store.close()
    print(f"{name} {fault}: {nth} calls tried, {dict(counts)}")
    assert counts["faults"] >= 8 / step


def event_was_refused(model: Model) -> bool:
    return bool(model.maybe) and any(name.startswith(f"{DURING:08x}") for name in model.maybe)


def settled(operation: Operation, model: Model) -> Model:
    """The model once the operation has succeeded: what had to go is gone."""
    gone = Model().with_maybe(*operation.gone).maybe
    return Model(model.there, model.maybe - gone)
