"""Scrubbing: every live file is read again in turn, because a disk may return other bytes than before."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ..contents import Contents
from ..files.verified import VerifiedFiles
from ..snapshot import Damage, FileRef

log = logging.getLogger(__name__)

OnDamage = Callable[[str, FileRef], None]


@dataclass(slots=True)
class Scrubbed:
    """What one turn read. damages: (tenant, damage)."""

    files: int = 0
    bytes: int = 0
    damages: list[tuple[str, Damage]] = field(default_factory=list)


class Scrubber:
    """Goes through all live files, some a turn. One user at a time.

    on_damage: told of files whose bytes differ.
    """

    def __init__(self, contents: Contents, verified: VerifiedFiles, on_damage: OnDamage) -> None:
        self._contents, self._verified, self._on_damage = contents, verified, on_damage
        self._pass: Iterator[tuple[str, FileRef]] = iter(())

    def turn(self, files_max: int) -> Scrubbed:
        """Read the next `files_max` files; at the end of a pass the next one begins."""
        done = Scrubbed()
        while done.files < files_max:
            following = next(self._pass, None)
            if following is None:
                if done.files:
                    break
                self._pass = self._all()
                following = next(self._pass, None)
                if following is None:
                    break
            self._read(*following, done)
        return done

    def whole_pass(self) -> Scrubbed:
        """Read every live file now."""
        done = Scrubbed()
        for tenant, ref in self._all():
            self._read(tenant, ref, done)
        return done

    def _all(self) -> Iterator[tuple[str, FileRef]]:
        for tenant in self._contents.tenants():
            for file in self._contents.files(tenant):
                yield tenant, file.ref

    def _read(self, tenant: str, ref: FileRef, done: Scrubbed) -> None:
        done.files += 1
        done.bytes += ref.bytes
        try:
            damage = self._verified.read_again(ref)
        except OSError as error:
            damage = self._verified.unusable(ref, error)
        # Compaction or retention may have taken it since the pass began.
        if damage is None or not self._contents.is_live(tenant, ref):
            return
        log.error("scrub: %s of %s: %s", damage.file, tenant, damage.reason)
        done.damages.append((tenant, damage))
        if damage.differs:
            self._on_damage(tenant, ref)
