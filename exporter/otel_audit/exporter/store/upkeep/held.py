"""What legal holds keep of a partition that is due: the seam between retention and who knows the holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeAlias

import pyarrow as pa

from ..snapshot import FileRef

NUMBERS: Final = pa.schema([pa.field("writer", pa.string()), pa.field("seq", pa.int64())])
"""Schema of `Held.rows`: an event's number within its tenant."""


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Held:
    """What must stay of some files; by default nothing.

    rows: only these rows stay, at least one, ascending by (writer, seq), schema NUMBERS.
    everything: all rows stay. names: the holds that say so.
    problem: why the holds could not be judged, in which case everything stays; "" when they could.
    is_current: asks again whether this still is so, as a hold may have come meanwhile. Call it right before
    files go; when it says no, leave them for the next run. It never raises.
    """

    rows: pa.Table | None = None
    everything: bool = False
    names: tuple[str, ...] = ()
    problem: str = ""
    is_current: Callable[[], bool] = field(default=_always, compare=False, repr=False)

    def __post_init__(self) -> None:
        assert self.rows is None or not self.everything
        assert self.rows is None or (self.rows.schema.equals(NUMBERS) and self.rows.num_rows)
        assert self.everything or not self.problem

    @property
    def nothing(self) -> bool:
        """Whether no row has to stay."""
        return self.rows is None and not self.everything


HeldOf: TypeAlias = Callable[[str, Sequence[FileRef], datetime], Held]
"""Tenant, files of one of its partitions, now (aware) → what of them must stay then. Never raises."""
