"""A ``gst-launch-1.0`` that is first on PATH: a real process and a real pipe, but no camera.

It writes the numbered pictures at 30 per second, and chatters on standard output as a Jetson's
driver does.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.edge_runtime.test_frames_kit import HEIGHT, WIDTH, bgr

PICTURES = 60
SIZE = (WIDTH, HEIGHT)
SCRIPT = """#!{python} -IS
import os, re, signal, sys, time

arguments = " ".join(sys.argv[1:])
open({folder!r} + "/arguments", "w").write(arguments)
open({folder!r} + "/pid", "w").write(str(os.getpid()))
print("GST_ARGUS: Creating output stream", flush=True)
if {deaf}:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
if {refuses}:
    sys.exit("WARNING: erroneous pipeline: no element \\"nvarguscamerasrc\\"")
width, height = (int(re.search(key + r"=(\\d+)", arguments)[1]) for key in ("width", "height"))
pipe = int(re.search(r"fdsink fd=(\\d+)", arguments)[1])
pictures = open({folder!r} + "/pictures", "rb").read()
size, sent, start = 3 * width * height, 0, time.monotonic()
while sent != {limit}:
    time.sleep(max(0, start + sent / 30 - time.monotonic()))
    left = memoryview(pictures)[sent % {pictures} * size:][:size]
    while left:
        left = left[os.write(pipe, left):]
    sent += 1
if {hangs}:
    time.sleep(60)
sys.exit("ERROR: from element nvarguscamerasrc0: CANCELLED")
"""


def install(
    folder: Path, patch: pytest.MonkeyPatch, *, limit: int = -1, hangs: bool = False,
    deaf: bool = False, refuses: bool = False,
) -> None:  # fmt: skip
    """Puts the program first on PATH.

    Args:
        folder: for it.
        patch: undoes it.
        limit: pictures, after which it dies; -1: none.
        hangs: it hangs there instead.
        deaf: it does not heed Ctrl-C.
        refuses: it ends without a picture.
    """
    (folder / "pictures").write_bytes(b"".join(bgr(k).tobytes() for k in range(PICTURES)))
    script = folder / "gst-launch-1.0"
    script.write_text(
        SCRIPT.format(
            python=sys.executable, folder=str(folder), pictures=PICTURES, limit=limit,
            hangs=hangs, deaf=deaf, refuses=refuses,
        )
    )  # fmt: skip
    script.chmod(0o755)
    patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def runs(folder: Path) -> bool:
    """Whether the program that was started last is still there."""
    try:
        os.kill(int((folder / "pid").read_text()), 0)
    except ProcessLookupError:
        return False
    return True
