"""The live picture: encoded only while somebody watches, by a thread of its own, newest first.

The analysis thread leaves a reference to its newest frame here and goes on; what is not looked at
is never drawn, and whoever is slow to fetch a picture gets the newest one the next time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

JPEG_QUALITY = 80
MOST_PER_S = 10.0
WATCHED_S = 2.0
"""A picture is encoded when one was asked for so short a time ago."""
FRESH_S = 0.25
"""What was captured longer ago is not live, and is not given out, but to who has no picture yet."""
QUICK_S = 0.2
"""A machine that usually takes longer to analyse a frame could keep to that with no picture at all:
there the limit holds from the end of the analysis on, and the age of a picture is said."""
LEAVES_S = 0.02
"""What may pass until a picture that is given out has left."""
USUAL = 0.1
"""Share of the newest frame in what is usual."""


@dataclass(frozen=True)
class Drawable:
    """A frame that can be drawn.

    Attributes:
        captured_s, analysed_s: ``time.monotonic()`` when it was captured, and handed over.
        draw: gives its JPEG file.
    """

    captured_s: float
    analysed_s: float
    draw: Callable[[], bytes]


@dataclass(frozen=True)
class Picture:
    """A drawn frame.

    Attributes:
        number: counts the pictures of a source, from 1.
        jpeg: the file.
        frame: what it was drawn from.
    """

    number: int
    jpeg: bytes
    frame: Drawable

    @property
    def age_s(self) -> float:
        """Since it was captured."""
        return time.monotonic() - self.frame.captured_s

    @property
    def live(self) -> bool:
        """Whether it shows what is under the microscope now."""
        return self.age_s <= FRESH_S

    @property
    def newest(self) -> bool:
        """Whether nothing newer can be expected to be there."""
        return time.monotonic() - self.frame.analysed_s <= FRESH_S


class LivePicture:
    """The newest picture of one source.

    ``show`` belongs to the analysis thread; ``newest`` may be called by any. Neither waits.

    Attributes:
        closed: whether it was closed; nobody waits for a picture then.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: Drawable | None = None
        self._picture: Picture | None = None
        self._asked_s = -WATCHED_S
        self._usual_s = 0.0
        self.closed = False
        self._thread = threading.Thread(target=self._run, name="picture", daemon=True)
        self._thread.start()

    def show(self, drawable: Drawable) -> None:
        """Replaces what waits to be drawn."""
        took_s = drawable.analysed_s - drawable.captured_s
        with self._changed:
            self._usual_s += USUAL * (took_s - self._usual_s)
            self._waiting = drawable
            self._changed.notify_all()

    def newest(self, after: int) -> Picture | None:
        """The newest picture that the caller does not have; None while there is none.

        Args:
            after: number of the picture that the caller has; 0 where it has none. Then the last
                one is given however old it is.
        """
        with self._changed:
            self._asked_s = time.monotonic()
            self._changed.notify_all()
            picture, quick = self._picture, self._usual_s <= QUICK_S
        if picture is None or picture.number == after:
            return None
        fresh = picture.age_s <= FRESH_S - LEAVES_S if quick else picture.newest
        return picture if not after or fresh else None

    def close(self) -> None:
        """Ends the thread."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while (drawable := self._next()) is not None:
            started_s = time.monotonic()
            jpeg = drawable.draw()
            with self._changed:
                number = self._picture.number + 1 if self._picture else 1
                self._picture = Picture(number, jpeg, drawable)
                rest_s = started_s + 1 / MOST_PER_S - time.monotonic()
                self._changed.wait_for(lambda: self.closed, max(0.0, rest_s))

    def _next(self) -> Drawable | None:
        with self._changed:
            while not self.closed:
                watched = time.monotonic() - self._asked_s < WATCHED_S
                if self._waiting is not None and watched:
                    drawable, self._waiting = self._waiting, None
                    return drawable
                self._changed.wait()
        return None
