"""A session as the page sees it while it goes on: one more ``Show`` of ``live``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from heme_edge.live.analyser import Analysed, CountedCell
from heme_edge.live.camera import Camera
from heme_edge.live.show import drawn_frame
from heme_edge.web.desk import Desk, SourceNews
from heme_edge.web.live_picture import JPEG_QUALITY, Drawable, LivePicture


class PageShow:
    """Leaves the newest frame and figures of each camera at the desk; never waits.

    Args:
        desk: of the page.
        losses: the bundle's accepted losses.
    """

    def __init__(self, desk: Desk, losses: Sequence[str]) -> None:
        self._desk, self._losses = desk, losses

    def begin(self, cameras: Sequence[Camera]) -> None:
        """A picture for each camera."""
        self._desk.pictures = [LivePicture() for _ in cameras]
        self._desk.news = [
            SourceNews(camera.number, camera.source.name, f"Scale: {camera.scale.words}")
            for camera in cameras
        ]

    def frame(self, camera: Camera, analysed: Analysed, age_ms: float) -> None:
        """After each frame."""
        drawing = _Drawing(camera, analysed, self._losses)
        captured_s = analysed.placed.frame.captured_s
        self._desk.pictures[camera.number].show(
            Drawable(captured_s, time.monotonic(), drawing.jpeg)
        )
        self._desk.news[camera.number] = SourceNews(
            camera.number, camera.source.name, f"Scale: {camera.scale.words}",
            analysed.placed.frame.index, analysed.placed.focus, round(age_ms, 1),
            analysed.not_used, analysed.field, len(analysed.cells), camera.analyser.cells_counted,
        )  # fmt: skip

    def end(self, camera: Camera, counted: Sequence[CountedCell]) -> None:
        """The session has ended; the page stays while it is served."""
        self._desk.ended = True


@dataclass(frozen=True)
class _Drawing:
    camera: Camera
    analysed: Analysed
    losses: Sequence[str]

    def jpeg(self) -> bytes:
        import cv2

        image = drawn_frame(self.camera, self.analysed, self.losses)
        quality = (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
        return cv2.imencode(".jpg", image[..., ::-1], quality)[1].tobytes()
