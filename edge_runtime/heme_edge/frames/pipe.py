"""Pictures that another program writes into a pipe."""

from __future__ import annotations

import atexit
import fcntl
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from heme_edge.crops import Image
from heme_edge.errors import SourceError

PIPE_BYTES = 1 << 20
"""What Linux lets a user have; a picture needs a few reads instead of a hundred."""
POLL_S = 0.2
END_WAIT_S = 0.5


class PipeGrabber:
    """A `Grabber` of raw BGR pictures of one size, from a program that is started here.

    Args:
        command: the program; ``{fd}`` in its arguments becomes the number of the pipe. Its
            standard output may say what it likes.
        size: width and height of the pictures, px.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, command: Sequence[str], size: tuple[int, int]) -> None:
        self._name = Path(command[0]).name
        self._shape = (size[1], size[0], 3)
        self._picture, self._filled = np.empty(self._shape, np.uint8), 0
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # release closes it
        self._pipe, there = os.pipe()
        try:
            self._process = self._start(command, there)
        except OSError:
            os.close(self._pipe)
            raise
        finally:
            os.close(there)
        atexit.register(self._process.kill)  # also where nobody comes to release it
        with suppress(OSError):
            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._ready = select.poll()
        self._ready.register(self._pipe, select.POLLIN)

    def _start(self, command: Sequence[str], pipe: int) -> subprocess.Popen[bytes]:
        """In a session of its own, so that Ctrl-C at the terminal does not reach it first."""
        return subprocess.Popen(
            [part.format(fd=pipe) for part in command], pass_fds=(pipe,), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._said,
        )  # fmt: skip

    def wait(self, seconds: float) -> bool:
        """Whether the first picture begins to come within so many seconds.

        Raises:
            SourceError: the program ended before.
        """
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            if self._ready.poll(1000 * POLL_S):
                self._read()
                return True
        return False

    def grab(self) -> Image | None:
        """The next picture, BGR; None where none was whole within 0.2 s.

        Raises:
            SourceError: the program has ended.
        """
        while self._filled < self._picture.size:
            if not self._ready.poll(1000 * POLL_S):
                return None
            self._read()
        picture, self._filled = self._picture, 0
        self._picture = np.empty(self._shape, np.uint8)
        return picture

    def _read(self) -> None:
        count = os.readv(self._pipe, [self._picture.reshape(-1).data[self._filled :]])
        if not count:
            raise SourceError(f"{self._name} ended: {self._last_words()}")
        self._filled += count

    def _last_words(self) -> str:
        """What it complained of: GStreamer's first error, else its last line."""
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").split("\n")
        errors = [line for line in lines if "ERROR" in line or "erroneous" in line]
        return (errors or [line for line in reversed(lines) if line.strip()] or ["no word"])[0]

    def release(self) -> None:
        """Ends the program: as Ctrl-C does, and by force where it does not heed that."""
        for number in (signal.SIGINT, signal.SIGKILL):
            with suppress(subprocess.TimeoutExpired):
                self._process.send_signal(number)
                self._process.wait(END_WAIT_S)
                break
        atexit.unregister(self._process.kill)
        os.close(self._pipe)
        self._said.close()
