"""Ctrl-C and SIGTERM, from the first import of a session to its end; needs no other package."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
OPENING = "opening"
"""Name of the thread that opens a camera, which may hang in a driver or in native code."""


class Stopping:
    """Ends a session however far it is.

    Until ``calling`` a signal raises KeyboardInterrupt. That can get lost, or come out as another
    error, where a package is just being loaded; so it is remembered: ``check`` raises it again, and
    an error that leaves the block after it is KeyboardInterrupt too. Belongs to the main thread.
    """

    def __init__(self) -> None:
        self._pressed = False
        self._stop: Callable[[], None] | None = None
        self._begun = False

    def __enter__(self) -> Stopping:
        """Listens."""
        atexit.register(_leave)
        self._old = {number: signal.signal(number, self._heard) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        """Leaves the signals as they were."""
        for number, handler in self._old.items():
            signal.signal(number, handler)
        if error is not None and self._pressed and not self._begun:
            raise KeyboardInterrupt from error
        atexit.unregister(_leave)

    def check(self) -> None:
        """Raises KeyboardInterrupt where a signal came."""
        if self._pressed:
            raise KeyboardInterrupt

    @contextmanager
    def calling(self, stop: Callable[[], None], seconds: float | None) -> Iterator[None]:
        """While this lasts a signal calls ``stop``, and so does the end of ``seconds``."""
        self._stop = stop
        self.check()
        self._begun = True
        timer = threading.Timer(seconds or 0, stop)
        timer.daemon = True
        if seconds:
            timer.start()
        try:
            yield
        finally:
            timer.cancel()
            self._stop = None

    def _heard(self, _signal: int, _frame: FrameType | None) -> None:
        self._pressed = True
        if self._stop is None:
            raise KeyboardInterrupt
        # A thread, since the stop may wait for a lock that the interrupted thread holds.
        threading.Thread(target=self._stop, daemon=True).start()


def _leave() -> None:
    """After all else at exit: a thread that is still opening something is not waited for.

    Python would break it off amid native code, which aborts the program.
    """
    if any(thread.name == OPENING for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(128 + signal.SIGINT)
