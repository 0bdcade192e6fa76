"""Live sources: one thread grabs without pause, and only the newest frame is kept."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Protocol

import numpy as np

from heme_edge.crops import Image
from heme_edge.errors import SourceError
from heme_edge.frames.base import Frame

CLOSE_WAIT_S = 1.5
RETRY_S = 0.05
SAMPLE_STEP = 8
"""Every so-many-th pixel is compared when looking for a frozen picture."""


class Grabber(Protocol):
    """A device or stream as the grab thread uses it; one thread calls both methods."""

    def grab(self) -> Image | None:
        """The next picture as OpenCV has it (BGR or grey, uint8), or None where it failed."""
        ...

    def release(self) -> None:
        """Gives the device back."""
        ...


class LatestFrame:
    """A slot for one frame between a grabbing and a reading thread; the newest wins.

    The writer calls ``put`` and ``fail``, the reader ``take``, anyone ``close``.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._error: SourceError | None = None
        self._closed = False
        self._count = 0
        self._last_s = time.monotonic()

    @property
    def count(self) -> int:
        """Frames put so far, whether or not they were taken."""
        return self._count

    @property
    def last_s(self) -> float:
        """``time.monotonic()`` of the newest frame, or of the slot's making before the first."""
        return self._last_s

    def put(self, image: Image) -> None:
        """Keeps ``image`` as the newest frame, in place of one that was not taken."""
        now = time.monotonic()
        with self._changed:
            self._frame = Frame(image, self._count, now)
            self._count += 1
            self._last_s = now
            self._changed.notify_all()

    def fail(self, error: SourceError) -> None:
        """The source is lost: ``take`` raises this once the newest frame has been taken."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def close(self) -> None:
        """Ends a waiting ``take``; it and all later ones return None."""
        with self._changed:
            self._closed = True
            self._frame = None
            self._changed.notify_all()

    def take(self, stall_s: float, stalled: SourceError) -> Frame | None:
        """The newest frame not yet taken, as soon as there is one; None once closed.

        Raises:
            SourceError: what ``fail`` was given, or ``stalled`` where the newest frame is
                ``stall_s`` seconds old.
        """
        with self._changed:
            while not self._closed:
                if self._frame is not None:
                    frame, self._frame = self._frame, None
                    return frame
                left = self._last_s + stall_s - time.monotonic()
                if self._error is None and left <= 0:
                    self._error = stalled
                if self._error is not None:
                    raise self._error
                self._changed.wait(left)
        return None


class LiveSource:
    """A camera or network stream: a `FrameSource` over a grab thread.

    Args:
        name: for people: ``camera 0``.
        grabber: the open device; the thread releases it.
        stall_s: no new picture for so many seconds is an error; so is the very same one, unless
            it is flat (lamp off, or all white), which a healthy camera can send.
        patience_s: a grab that fails is tried again for so many seconds.
        hint: what to try when the source is lost.
    """

    live = True
    um_per_px: float | None = None

    def __init__(
        self,
        name: str,
        grabber: Grabber,
        *,
        stall_s: float = 5.0,
        patience_s: float = 0.0,
        hint: str = "",
    ) -> None:
        self.name = name
        self._grabber = grabber
        self._stall_s = stall_s
        self._patience_s = min(patience_s, stall_s)
        self._hint = hint
        self._slot = LatestFrame()
        self._stop = threading.Event()
        self._freeze = FreezeWatch()
        self._thread = threading.Thread(target=self._run, name=f"grab {name}", daemon=True)
        self._thread.start()

    @property
    def captured(self) -> int:
        """Frames captured so far, dropped ones included."""
        return self._slot.count

    def read(self) -> Frame | None:
        """The newest frame not yet read; waits for one. None once closed.

        Raises:
            SourceError: no new picture for ``stall_s`` seconds, or the stream ended.
        """
        frame = self._slot.take(self._stall_s, self._error(self._quiet(self._stall_s)))
        return frame and replace(frame, image=to_rgb(frame.image))

    def close(self) -> None:
        """Ends a waiting ``read`` at once, and waits a moment for the device to be free.

        A grab that hangs inside the driver is left to its daemon thread.
        """
        self._stop.set()
        self._slot.close()
        self._thread.join(CLOSE_WAIT_S)

    def _error(self, what: str) -> SourceError:
        name = self.name[:1].upper() + self.name[1:]
        return SourceError(f"{name} {what}.", self._hint)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if not self._step():
                    break
        except Exception as error:
            self._slot.fail(self._error(f"failed while reading ({error})"))
        finally:
            self._grabber.release()

    def _step(self) -> bool:
        """One grab; False when the source is lost."""
        image = self._grabber.grab()
        if image is None:
            return self._failed()
        if self._freeze.seconds(image) >= self._stall_s:
            self._slot.fail(self._error(f"has sent the very same picture for {self._stall_s:g} s"))
            return False
        self._slot.put(image)
        return True

    def _failed(self) -> bool:
        quiet_s = time.monotonic() - self._slot.last_s
        if quiet_s < self._patience_s:
            self._stop.wait(RETRY_S)
            return True
        self._slot.fail(self._error(self._quiet(quiet_s) if quiet_s >= 1 else "broke off"))
        return False

    def _quiet(self, seconds: float) -> str:
        if not self._slot.count:
            return f"has sent no picture in {seconds:.2g} s"
        return f"stopped sending frames {seconds:.2g} s ago"


class FreezeWatch:
    """How long a source has sent one and the same picture.

    A sensor's noise makes every real picture differ; only a flat one (lamp off, all white)
    may rightly repeat.
    """

    def __init__(self) -> None:
        self._last: Image | None = None
        self._since_s = 0.0

    def seconds(self, image: Image) -> float:
        """Takes the next picture in; seconds since the first that looked exactly like it."""
        sample = image[::SAMPLE_STEP, ::SAMPLE_STEP].copy()
        now = time.monotonic()
        same = self._last is not None and np.array_equal(sample, self._last)
        if not same or sample.min() == sample.max():
            self._last, self._since_s = sample, now
        return now - self._since_s


def to_rgb(image: Image) -> Image:
    """RGB uint8 ``[H, W, 3]`` of what OpenCV captured (BGR, BGRA or grey)."""
    import cv2

    channels = 1 if image.ndim == 2 else image.shape[2]
    code = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}[channels]
    return np.asarray(cv2.cvtColor(image, code), np.uint8)
