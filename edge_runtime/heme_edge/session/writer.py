"""The thread that writes a session, so that counting never waits for a disk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from heme_edge.crops import CROP_PX, Image
from heme_edge.session.crop import encode_crop
from heme_edge.session.rows import Batch
from heme_edge.session.schema import SessionError
from heme_edge.session.store import Session

EVERY_S = 0.2
"""What was handed over is committed so often."""
MOST_BYTES = 128 << 20
"""Of crops that wait for a disk; beyond it only names and places of cells are kept, 1 kB each."""
GOES_ON = "Counting goes on, and what is counted is written when there is room."
CROP_BYTES = 3 * CROP_PX * CROP_PX


@dataclass(frozen=True)
class _Handed:
    """A batch that waits, with its crops as they were cut, by cell."""

    batch: Batch
    crops: Mapping[int, Image] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of its crops."""
        waiting = CROP_BYTES * len(self.crops)
        return waiting + sum(len(cell.crop) for cell in self.batch.cells)


class Writer:
    """Writes batches in their order; what a full disk does not take is kept and tried again.

    Args:
        session: open for writing.
        say: is told, once each time, that the disk takes nothing, and that it does again.
        most_bytes: of crops that wait.
    """

    def __init__(
        self, session: Session, say: Callable[[str], None], most_bytes: int = MOST_BYTES
    ) -> None:
        self._session, self._say, self._most = session, say, most_bytes
        self._busy = threading.Lock()
        self._handed: list[_Handed] = []
        self._waiting: list[_Handed] = []
        self._held = 0
        self._failing = self._thinned = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="session", daemon=True)
        self._thread.start()

    def put(self, batch: Batch, crops: Mapping[int, Image] | None = None) -> None:
        """Hands over a batch; never waits for the disk.

        Args:
            batch: what to add; its joins come before its cells.
            crops: RGB uint8 ``[96, 96, 3]`` by the number of the cell.
        """
        handed = _Handed(batch, crops or {})
        with self._busy:
            if self._held + handed.size > self._most:
                handed = _Handed(replace(batch, frames=()))
                self._thinned = True
            self._held += handed.size
            self._handed.append(handed)

    def close(self) -> bool:
        """Writes what is left, once; whether all that was handed over is in the session."""
        self._closing.set()
        self._thread.join()
        lost = sum(len(handed.batch.cells) for handed in self._waiting)
        if lost:
            self._say(f"{lost} cells could not be written to the session.")
        elif self._thinned:
            self._say("Crops of some cells were not kept: too many waited for the disk.")
        return not self._waiting

    def _run(self) -> None:
        ending = False
        while not ending:
            ending = self._closing.wait(EVERY_S)
            with self._busy:
                handed, self._handed = self._handed, []
            self._waiting = _newest_maps([*self._waiting, *self._encoded(_merged(handed))])
            self._write()

    def _encoded(self, some: Sequence[_Handed]) -> list[_Handed]:
        done = []
        for handed in some:
            crops = {number: encode_crop(crop) for number, crop in handed.crops.items()}
            cells = [replace(c, crop=crops.get(c.id, c.crop)) for c in handed.batch.cells]
            done.append(_Handed(replace(handed.batch, cells=cells)))
            self._let_go(handed.size - done[-1].size)
        return done

    def _write(self) -> None:
        while self._waiting:
            try:
                self._session.add(self._waiting[0].batch)
            except SessionError as error:
                if not self._failing:
                    self._say(f"{error.message} {GOES_ON}")
                self._failing = True
                return
            if self._failing:
                self._say("The session is written again.")
            self._failing = False
            self._let_go(self._waiting.pop(0).size)

    def _let_go(self, size: int) -> None:
        with self._busy:
            self._held -= size


def _merged(some: Sequence[_Handed]) -> list[_Handed]:
    """As few batches as keep joins before the cells that were counted after them."""
    done: list[_Handed] = []
    for handed in some:
        if done and not handed.batch.joins:
            done[-1] = _both(done[-1], handed)
        else:
            done.append(handed)
    return done


def _both(one: _Handed, other: _Handed) -> _Handed:
    a, b = one.batch, other.batch
    batch = Batch(
        [*a.frames, *b.frames], [*a.cells, *b.cells], [*a.duplicates, *b.duplicates],
        a.joins, {**a.maps, **b.maps},
    )  # fmt: skip
    return _Handed(batch, {**one.crops, **other.crops})


def _newest_maps(some: Sequence[_Handed]) -> list[_Handed]:
    """Of maps that wait only the newest of each source is of use."""
    later: set[int] = set()
    done = []
    for handed in reversed(some):
        maps = {source: m for source, m in handed.batch.maps.items() if source not in later}
        later |= maps.keys()
        done.append(replace(handed, batch=replace(handed.batch, maps=maps)))
    return done[::-1]
