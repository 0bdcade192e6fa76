"""``--window``: the annotated frame on the screen, where OpenCV can open a window."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from heme_edge.errors import HemeError
from heme_edge.live.analyser import Analysed, CountedCell
from heme_edge.live.camera import Camera
from heme_edge.live.show import annotated
from heme_edge.opencv_build import opencv_has

REFRESH_MS = 30
FIRST_WIDTH_PX = 1280
KEYS = (ord("q"), 27)
"""That end the session; 27 is Esc."""
CLOSE_WAIT_S = 0.5
TRY_IT = "import cv2; cv2.namedWindow('heme-edge'); cv2.waitKey(1); cv2.destroyAllWindows()"
INSTEAD = "Leave --window out: the annotated picture is in a file, see --picture."


def check_window() -> None:
    """Tries a window in a process of its own, since without a screen some OpenCVs abort theirs.

    Raises:
        HemeError: no window can be opened here.
    """
    if opencv_has("GUI").startswith("N"):
        raise HemeError("OpenCV from pip (headless) has no windows.", INSTEAD)
    if sys.platform.startswith("linux"):
        screens = [os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")]
        if not any(screens):
            raise HemeError("There is no screen here (DISPLAY is not set).", INSTEAD)
    try:
        subprocess.run([sys.executable, "-c", TRY_IT], check=True, capture_output=True, timeout=20)
    except subprocess.SubprocessError as error:
        raise HemeError("OpenCV cannot open a window on this screen.", INSTEAD) from error


class Windows:
    """A window for each camera; a `Show`. A thread of its own draws the newest frame.

    ``q``, Esc or closing a window ends the session.

    Args:
        losses: the bundle's accepted losses.
        stop: ends the session.

    Raises:
        HemeError: no window can be opened here.
    """

    def __init__(self, losses: Sequence[str], stop: Callable[[], None]) -> None:
        check_window()
        self._losses, self._stop = losses, stop
        self._newest: dict[str, tuple[Camera, Analysed]] = {}
        self._shown: set[str] = set()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="window", daemon=True)

    def begin(self, cameras: Sequence[Camera]) -> None:
        """Says how to end."""
        print("Close the window or press q in it to end.", file=sys.stderr)
        self._thread.start()

    def frame(self, camera: Camera, analysed: Analysed, age_ms: float) -> None:
        """Keeps the frame as its camera's newest."""
        self._newest[f"heme-edge {camera.number}: {camera.source.name}"] = camera, analysed

    def end(self, camera: Camera, counted: Sequence[CountedCell]) -> None:
        """Nothing: ``close`` has closed them."""

    def close(self) -> None:
        """Closes the windows."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_WAIT_S)

    def _run(self) -> None:
        import cv2

        while not self._closing.is_set():
            self._draw()
            if cv2.waitKey(REFRESH_MS) & 0xFF in KEYS or self._one_was_closed():
                self._stop()
                break
        with suppress(cv2.error):  # where the user closed the last one
            cv2.destroyAllWindows()

    def _draw(self) -> None:
        import cv2

        for title in list(self._newest):
            camera, analysed = self._newest.pop(title)
            image = annotated(camera, analysed, self._losses)
            if title not in self._shown:
                cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_GUI_NORMAL)
                width = min(image.shape[1], FIRST_WIDTH_PX)
                cv2.resizeWindow(title, width, width * image.shape[0] // image.shape[1])
                self._shown.add(title)
            cv2.imshow(title, image[..., ::-1])

    def _one_was_closed(self) -> bool:
        import cv2

        try:
            return any(cv2.getWindowProperty(t, cv2.WND_PROP_VISIBLE) < 1 for t in self._shown)
        except cv2.error:  # Qt knows no windows any more once the last is closed
            return True
