"""One writer at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heme_edge.session.schema import SessionError


@contextmanager
def locking(folder: Path) -> Iterator[int]:
    """Locks a folder for writing; let go when the body fails, else when the number is closed.

    The lock ends with the process, however that ends.

    Raises:
        SessionError: another process holds it.
    """
    lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield lock
    except BlockingIOError:
        os.close(lock)
        raise SessionError(
            f"Another program is writing the session in '{folder}'.", "End it first"
        ) from None
    except BaseException:
        os.close(lock)
        raise
