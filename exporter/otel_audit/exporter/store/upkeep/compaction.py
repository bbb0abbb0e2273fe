"""Compaction: the many files of a day become one, row for row the same.

A closed day, one that takes no more events, ends as one file (or a few of at most 128 MB). An open day
is merged sixteen files at a time, so that small tenants and late events stay cheap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..ledger.entry import ManifestFile
from ..schema import PARQUET, VIEW, refuse_newer
from ..snapshot import FileRef
from .seal import ORDER

# A file is built in memory, so its size bounds that; about 1.4 million events.
FILE_BYTES_MAX: Final = 128 << 20
# An event may come 48 hours after its date, so a date takes none from the third day after it on.
_OPEN_DAYS: Final = 2
# Files of an open day that are merged at once: each row is written again once for every factor of 16.
FAN_IN: Final = 16
# Rows held of all the files of one merge together: about 100 MB.
_ROWS_HELD: Final = 131_072
_BATCH_ROWS_MIN: Final = 1_024
# All of them are open at once, and each holds a batch.
FILES_MAX: Final = _ROWS_HELD // _BATCH_ROWS_MIN


def plan(files: Iterable[ManifestFile], today: date) -> list[list[ManifestFile]]:
    """Groups of files of one partition and writer that should become one file each. today: UTC."""
    partitions: dict[tuple[str, str, str], list[ManifestFile]] = {}
    for file in files:
        if file.ref.bytes < FILE_BYTES_MAX:
            partitions.setdefault((file.ref.date, file.ref.retention, file.ref.writer), []).append(file)
    groups: list[list[ManifestFile]] = []
    for (day, _, _), members in sorted(partitions.items()):
        closed = date.fromisoformat(day) < today - timedelta(days=_OPEN_DAYS)
        if len(members) < (2 if closed else FAN_IN):
            continue
        # Smallest first: an open day's large file waits until there are others of its kind.
        members.sort(key=lambda file: (file.ref.bytes, file.ref.seq_min))
        chosen = members if closed else members[:FAN_IN]
        groups += [group for group in _fitting(chosen) if len(group) > 1]
    return groups


def _fitting(files: Sequence[ManifestFile]) -> Iterator[list[ManifestFile]]:
    group: list[ManifestFile] = []
    size = 0
    for file in files:
        if group and (size + file.ref.bytes > FILE_BYTES_MAX or len(group) == FILES_MAX):
            yield group
            group, size = [], 0
        group.append(file)
        size += file.ref.bytes
    yield group


def merged(
    refs: Sequence[FileRef], keep: pa.Array | None = None, *, batch_rows: int | None = None
) -> Iterator[pa.Table]:
    """The rows of verified files of one partition, schema VIEW, ascending by (time, event_id) over all.

    keep: only rows with these sequence numbers. batch_rows: read so many of a file at once. Memory does not
    grow with the files.
    """
    batch_rows = batch_rows or max(_BATCH_ROWS_MIN, _ROWS_HELD // max(1, len(refs)))
    sources = [_Source(ref, batch_rows) for ref in refs]
    while heads := [source for source in sources if source.fill()]:
        # Rows up to the lowest of all buffers' ends have no smaller one to come.
        end = min(source.last for source in heads)
        rows = pa.concat_tables(source.take(end) for source in heads).sort_by(ORDER)
        if keep is not None:
            rows = rows.filter(pc.is_in(rows["seq"], keep))
        if rows.num_rows:
            yield rows


class _Source:
    """One file being merged, read batch by batch."""

    def __init__(self, ref: FileRef, batch_rows: int) -> None:
        self._ref = ref
        file = pq.ParquetFile(ref.path)
        # Columns that are not known would be dropped.
        refuse_newer(file.metadata.metadata, ref.path.name)
        self._batches = file.iter_batches(batch_size=batch_rows, use_threads=False)
        self._rows = VIEW.empty_table()
        self.last: tuple[int, str] = (0, "")

    def fill(self) -> bool:
        """Make sure there is a row; False at the end of the file."""
        while not self._rows.num_rows:
            batch = next(self._batches, None)
            if batch is None:
                return False
            self._rows = self._viewed(pa.Table.from_batches([batch]))
            end = self._rows.slice(self._rows.num_rows - 1)
            self.last = (end["time"].cast(pa.int64())[0].as_py(), end["event_id"][0].as_py())
        return True

    def take(self, end: tuple[int, str]) -> pa.Table:
        """Remove and return the rows up to `end`."""
        if self.last <= end:
            rows, self._rows = self._rows, VIEW.empty_table()
            return rows
        time = self._rows["time"].cast(pa.int64())
        at_end = pc.and_(pc.equal(time, end[0]), pc.less_equal(self._rows["event_id"], end[1]))
        count = pc.sum(pc.or_(pc.less(time, end[0]), at_end)).as_py() or 0
        rows, self._rows = self._rows.slice(0, count), self._rows.slice(count)
        return rows

    def _viewed(self, rows: pa.Table) -> pa.Table:
        """Rows of a file as schema VIEW: columns that its release did not know are null."""
        count = rows.num_rows
        path = {"retention": self._ref.retention, "date": self._ref.date}
        columns = []
        for wanted in VIEW:
            if wanted.name in path:
                columns.append(pa.repeat(pa.scalar(path[wanted.name]), count))
            elif wanted.name in rows.column_names:
                columns.append(rows[wanted.name].cast(wanted.type))
            else:
                columns.append(pa.nulls(count, wanted.type))
        return pa.Table.from_arrays(columns, schema=VIEW)


assert set(PARQUET.names) < set(VIEW.names)  # a file holds nothing that a merge would drop
