"""Reading one segment at start: what is whole, what is torn, what is damaged. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from .durable import Durable
from .format import FIRST, Gap, Header, Record, scan
from .reader import Damage


class StatedEnd(NamedTuple):
    """Where a segment's last record ends, as the next segment's header or `durable` says."""

    offset: int
    next_index: int


@dataclass(slots=True)
class Survey:
    """One segment as found.

    end: of its last valid record. stop: bytes beyond are not part of the log.
    synced_to: records that start here or later are of unknown durability and stand in `tail`.
    used: bytes beyond are zeros and belong to no record.
    """

    number: int
    header: Header | None
    size: int
    stop: int
    synced_to: int
    end: int = FIRST
    used: int = 0
    records: int = 0
    last_index: int = 0
    missing: int = 0
    torn_bytes: int = 0
    tail: list[Record] = field(default_factory=list)
    damaged: list[Damage] = field(default_factory=list)

    @property
    def ends_clean(self) -> bool:
        """Whether the next record may be written right behind the last one."""
        whole = self.header is not None and not self.damaged and not self.missing
        return whole and not self.tail and not self.torn_bytes and self.end == self.synced_to

    @property
    def is_empty(self) -> bool:
        """Whether nothing is lost with this segment when its tail stands elsewhere."""
        whole = self.header is not None and not self.damaged and not self.missing
        return whole and self.records == len(self.tail)


def survey_sealed(number: int, header: Header | None, data: bytes, following: Header | None) -> Survey:
    """Read a segment that is not the last one; all of it was durable before the next was made."""
    stated = None
    if following is not None and following.previous.segment == number:
        stated = StatedEnd(following.previous.offset, following.first_index)
    stop = stated.offset if stated else len(data)
    survey = Survey(number, header, len(data), stop, stop)
    last_gap = _read_records(survey, data)
    _judge_end(survey, stated, last_gap)
    return survey


def survey_last(number: int, header: Header | None, data: bytes, durable: Durable | None) -> Survey:
    """Read the last segment, which may end anywhere; `durable` None when it could not be read."""
    stated = None
    synced_to = FIRST
    if durable is not None and durable.position.segment == number:
        stated = StatedEnd(durable.position.offset, durable.next_index)
        synced_to = stated.offset
    survey = Survey(number, header, len(data), len(data), synced_to)
    last_gap = _read_records(survey, data)
    # A record's payload and padding may end in zeros: the scan knows where it ends.
    survey.used = max(survey.end, synced_to, last_gap.end if last_gap else 0)
    if last_gap is not None and durable is not None and survey.end >= synced_to:
        # Never acknowledged: a write that was under way when the process or the power went.
        survey.torn_bytes = last_gap.end - last_gap.start
        last_gap = None
    _judge_end(survey, stated, last_gap)
    return survey


def _read_records(survey: Survey, data: bytes) -> Gap | None:
    """Fill in records and the damage between them; return the gap behind the last one."""
    if survey.header is None:
        survey.damaged.append(Damage(survey.number, 0, len(data), "segment header unreadable"))
        return None
    gap: Gap | None = None
    for item in scan(data, survey.header, FIRST, survey.stop):
        if isinstance(item, Gap):
            gap = item
            continue
        if gap is not None:
            survey.damaged.append(Damage(survey.number, gap.start, gap.end - gap.start, "no valid record"))
            gap = None
        survey.records += 1
        survey.last_index = item.record_index
        survey.end = item.end
        if item.start >= survey.synced_to:
            survey.tail.append(item)
    return gap


def _judge_end(survey: Survey, stated: StatedEnd | None, last_gap: Gap | None) -> None:
    """Compare where the records end with where somebody said they do."""
    if survey.header is None:
        return
    next_index = max(survey.last_index + 1, survey.header.first_index)
    if stated is not None:
        next_index = max(next_index, stated.next_index)
    survey.missing = next_index - survey.header.first_index - survey.records
    stop = last_gap.end if last_gap else survey.end
    if stated is not None and survey.end < stated.offset:
        stop = max(stop, stated.offset)
    if stop > survey.end:
        survey.damaged.append(Damage(survey.number, survey.end, stop - survey.end, "records are gone"))
