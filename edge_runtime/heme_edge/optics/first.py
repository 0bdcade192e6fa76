"""The first frames of a source, looked at before the session begins and not lost to it."""

from __future__ import annotations

import time
from collections import deque

from heme_edge.crops import Image
from heme_edge.errors import SourceError
from heme_edge.field_score import is_lit
from heme_edge.frames.base import Frame, FrameSource
from heme_edge.optics.session import FIRST_FIELDS

FIRST_S = 3.0


class FirstFrames:
    """A source whose first frames can be looked at before they are read.

    ``close`` may be called from any thread, ``first`` and ``read`` belong to one.

    Args:
        source: the open source; only this reads from it afterwards.
    """

    def __init__(self, source: FrameSource) -> None:
        self._source = source
        self._waiting: deque[Frame] = deque()
        self._lost: SourceError | None = None

    def first(self) -> list[Image]:
        """The readable ones of the first frames: 8 of them, or those of three seconds.

        Raises:
            SourceError: the source was lost before its first frame.
        """
        images: list[Image] = []
        end_s = time.monotonic() + FIRST_S
        while len(images) < FIRST_FIELDS and time.monotonic() < end_s:
            frame = self._next()
            if frame is None:
                break
            self._waiting.append(frame)
            if is_lit(frame.image):
                images.append(frame.image)
        return images

    def _next(self) -> Frame | None:
        try:
            return self._source.read()
        except SourceError as error:
            if not self._waiting:
                raise
            self._lost = error
            return None

    def read(self) -> Frame | None:
        """The next frame, those looked at first.

        Raises:
            SourceError: the source was lost.
        """
        if self._waiting:
            return self._waiting.popleft()
        if self._lost is not None:
            raise self._lost
        return self._source.read()
