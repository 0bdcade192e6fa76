"""Between the threads that read cameras and the one that looks for cells: a frame each at most."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace

from heme_edge.errors import HemeError
from heme_edge.frames.base import Frame
from heme_edge.ledger import Window
from heme_edge.stage import Join, Keyframe


@dataclass(frozen=True)
class Placed:
    """A frame, and where it lies on the slide.

    Attributes:
        frame: corrected for the camera's optics.
        window: its place.
        joins: patches that were found to be one since the frame that was taken before.
        not_used: why no cells are looked for in it; empty where they are.
        focus: 0..1, for the focus bar.
        keyframes: the map of the stage after it; another tuple after each change.
    """

    frame: Frame
    window: Window
    joins: tuple[Join, ...] = ()
    not_used: str = ""
    focus: float = 1.0
    keyframes: tuple[Keyframe, ...] = ()


class Slots:
    """A slot for each source; readers ``put`` and ``end``, one thread ``take``s, anyone closes.

    Args:
        sources: how many there are.
    """

    def __init__(self, sources: int) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[int, Placed] = {}
        self._turns = deque(range(sources))
        self._left = set(range(sources))
        self._closed = False
        self.errors: dict[int, HemeError] = {}

    def put(self, source: int, placed: Placed, *, wait: bool) -> bool:
        """Hands over a frame; False once closed.

        Args:
            source: number of the source.
            placed: the frame.
            wait: for the frame before to be taken (a file loses none); else it is replaced.
        """
        with self._changed:
            while wait and source in self._waiting and not self._closed:
                self._changed.wait()
            before = self._waiting.get(source)
            if before is not None:
                placed = replace(placed, joins=before.joins + placed.joins)
            self._waiting[source] = placed
            self._changed.notify_all()
            return not self._closed

    def end(self, source: int, error: HemeError | None = None) -> None:
        """A source has no more frames, or was lost."""
        with self._changed:
            if error is not None:
                self.errors[source] = error
            self._left.discard(source)
            self._changed.notify_all()

    def close(self) -> None:
        """Ends a waiting ``take`` and ``put``."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether somebody closed it; False where the sources ended by themselves."""
        with self._changed:
            return self._closed

    def take(self) -> tuple[int, Placed] | None:
        """The next frame, of the sources in turn; None when all have ended, or once closed."""
        with self._changed:
            while not self._closed:
                for _ in range(len(self._turns)):
                    self._turns.rotate(-1)
                    placed = self._waiting.pop(self._turns[-1], None)
                    if placed is not None:
                        self._changed.notify_all()
                        return self._turns[-1], placed
                if not self._left:
                    return None
                self._changed.wait()
        return None
