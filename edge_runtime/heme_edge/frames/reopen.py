"""A camera that was lost is opened again, so that a session outlives a cable or a server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from heme_edge.errors import SourceError
from heme_edge.frames.base import Frame, FrameSource

FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 1.0
"""Between two attempts: doubled from the first to the longest."""


class Reopened:
    """A live `FrameSource` that is opened again when it is lost.

    Frame numbers go on where they were. ``close`` does not wait for an attempt that hangs in a
    driver.

    Args:
        source: open.
        opens: opens it again; raises SourceError where it cannot.
        patience_s: a lost source is waited for so long.
        say: is told when it is lost, and when it is back.
    """

    live = True
    um_per_px: float | None = None

    def __init__(
        self,
        source: FrameSource,
        opens: Callable[[], FrameSource],
        patience_s: float,
        say: Callable[[str], None],
    ) -> None:
        self._opens, self._patience_s, self._say = opens, patience_s, say
        self._source = source
        self._before = 0
        self._closed = threading.Event()
        self._lost: SourceError | None = None
        self.name = self._source.name

    @property
    def captured(self) -> int:
        """Frames captured so far, dropped ones included, of every time it was opened."""
        return self._before + self._source.captured

    def read(self) -> Frame | None:
        """The newest frame not yet read, after a new opening where one was needed.

        Raises:
            SourceError: the source was lost, and did not come back in time.
        """
        while True:
            try:
                frame = self._source.read()
            except SourceError as error:
                if self._reopen(error):
                    continue
                if self._closed.is_set():
                    return None
                raise
            if frame is None:
                return None
            self._is_back()
            return replace(frame, index=frame.index + self._before)

    def close(self) -> None:
        """Ends a waiting ``read``, also one that waits for the source to come back."""
        self._closed.set()
        self._source.close()

    def _is_back(self) -> None:
        if self._lost is not None:
            self._lost = None
            self._say(f"{self.name[:1].upper()}{self.name[1:]} is back.")

    def _reopen(self, error: SourceError) -> bool:
        """Whether the source could be opened again before it was closed or patience ran out."""
        if self._lost is None and self._patience_s:
            self._say(f"{error.message} Trying again for {self._patience_s:g} s.")
        self._lost = error
        self._source.close()
        wait_s, end_s = FIRST_WAIT_S, time.monotonic() + self._patience_s
        while time.monotonic() < end_s and not self._closed.wait(wait_s):
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            try:
                source = self._opens()
            except SourceError:
                continue
            self._before += self._source.captured
            self._source = source
            if self._closed.is_set():
                source.close()
            return not self._closed.is_set()
        return False
