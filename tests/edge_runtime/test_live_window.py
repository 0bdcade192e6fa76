"""``live --window``: refused in one sentence here; with a stand-in for OpenCV's windows elsewhere.

A real window was opened by hand with OpenCV's Qt under Xvfb; pip's headless OpenCV has none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from heme_edge.errors import HemeError
from heme_edge.live import window
from heme_edge.live.window import Windows
from heme_edge.opencv_build import opencv_has
from tests.conftest import Run
from tests.edge_runtime.test_live_recording import analysed

CAMERA: Any = SimpleNamespace(
    number=0, source=SimpleNamespace(name="camera 0"), scale=SimpleNamespace(words="0.25 µm/px")
)


@pytest.mark.skipif(not opencv_has("GUI").startswith("N"), reason="this OpenCV has windows")
def test_a_headless_opencv_is_one_sentence(heme_edge: Run) -> None:
    done = heme_edge("live", "--camera", "sim", "--window")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "Error: OpenCV from pip (headless) has no windows.",
        "Try: Leave --window out: the annotated picture is in a file, see --picture.",
    ]


def test_no_screen_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "opencv_has", lambda _: "QT5")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(HemeError, match="There is no screen here"):
        window.check_window()
    monkeypatch.setenv("DISPLAY", ":12345")
    with pytest.raises(HemeError, match="OpenCV cannot open a window on this screen"):
        window.check_window()  # tries it, in a process of its own


class Screen:
    """Stands in for OpenCV's windows; all must be called by one thread."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.key, self.closed, self.destroyed = -1, False, False
        self.shown: list[np.ndarray] = []
        self.threads: set[str] = set()
        for name in ("namedWindow", "resizeWindow", "imshow", "waitKey", "getWindowProperty",
                     "destroyAllWindows"):  # fmt: skip
            patch.setattr(cv2, name, self._of(name))
        patch.setattr(window, "check_window", lambda: None)

    def _of(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.threads.add(threading.current_thread().name)
            return getattr(self, "_" + name, lambda *_: None)(*arguments)

        return call

    def _imshow(self, _title: str, image: np.ndarray) -> None:
        self.shown.append(image)

    def _waitKey(self, milliseconds: int) -> int:  # noqa: N802  # OpenCV's name
        time.sleep(milliseconds / 1000)
        return self.key

    def _getWindowProperty(self, _title: str, _what: int) -> float:  # noqa: N802  # OpenCV's name
        if self.closed:
            raise cv2.error("NULL guiReceiver")
        return 1.0

    def _destroyAllWindows(self) -> None:  # noqa: N802  # OpenCV's name
        self.destroyed = True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    return Screen(monkeypatch)


def begun(stop: Callable[[], None]) -> Windows:
    windows = Windows([], stop)
    windows.begin([CAMERA])
    for number in range(5):
        windows.frame(CAMERA, analysed(number), 10.0)
    time.sleep(0.15)
    return windows


def test_the_newest_frame_is_drawn_by_one_thread_until_the_end(screen: Screen) -> None:
    stopped = threading.Event()
    windows = begun(stopped.set)
    windows.frame(CAMERA, analysed(9), 10.0)
    time.sleep(0.1)
    windows.close()
    assert not stopped.is_set()
    assert 2 <= len(screen.shown) <= 4
    assert screen.shown[-1].shape == (186, 256, 3)
    assert screen.threads == {"window"}
    assert screen.destroyed


@pytest.mark.parametrize("how", ["q", "Esc", "closed"])
def test_a_key_or_closing_it_ends_the_session(screen: Screen, how: str) -> None:
    stopped = threading.Event()
    windows = begun(stopped.set)
    screen.key = {"q": ord("q"), "Esc": 27, "closed": -1}[how]
    screen.closed = how == "closed"
    assert stopped.wait(1)
    windows.close()
