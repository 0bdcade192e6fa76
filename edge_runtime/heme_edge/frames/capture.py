"""cv2.VideoCapture as the grab thread uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heme_edge.crops import Image

if TYPE_CHECKING:
    import cv2


class CaptureGrabber:
    """A `Grabber` over an open ``cv2.VideoCapture``."""

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self._capture = capture

    def grab(self) -> Image | None:
        """The next picture (BGR or grey, uint8), or None where OpenCV got none."""
        ok, image = self._capture.read()
        return np.asarray(image, np.uint8) if ok and image is not None and image.size else None

    def release(self) -> None:
        """Closes the capture."""
        self._capture.release()
