"""A session as the page sees it while it goes on: one more ``Show`` of ``live``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from heme_edge.cli_support import note
from heme_edge.live.analyser import Analysed, CountedCell
from heme_edge.live.camera import Camera
from heme_edge.live.pause import Pause
from heme_edge.live.recorder import Recorder
from heme_edge.live.request import Request
from heme_edge.live.show import annotated
from heme_edge.notices import notice
from heme_edge.stop_rule import Goal
from heme_edge.web.address import Address, listen
from heme_edge.web.desk import Desk, SourceNews
from heme_edge.web.live_picture import JPEG_QUALITY, Drawable, LivePicture
from heme_edge.web.opened import say_where, until_stopped
from heme_edge.web.server import PageServer
from heme_edge.web.uploads import Model


class PageShow:
    """Leaves the newest frame and figures of each camera at the desk; never waits.

    Args:
        request: what the user asked for.
        goal: when counting is done.
        recorder: makes the session that is shown, before ``begin``.

    Attributes:
        pause: set by the page.

    Raises:
        AddressError: the page cannot be served where it was asked for.
    """

    def __init__(self, request: Request, goal: Goal, recorder: Recorder) -> None:
        self._goal, self._recorder = goal, recorder
        self._model = Model(request.bundle, request.backend, request.precision)
        self._listening = listen(Address.parse(request.web or ""))
        self._desk: Desk | None = None
        self._server: PageServer | None = None
        self._losses: Sequence[str] = ()
        self.pause = Pause()

    def begin(self, cameras: Sequence[Camera]) -> None:
        """Serves the page, and says where."""
        session = self._recorder.session
        if session is None:
            return
        self._losses = session.settings.accepted_losses
        desk = self._desk = Desk(session, self._goal, self.pause, self._model)
        desk.pictures = [LivePicture() for _ in cameras]
        desk.news = [SourceNews(c.number, c.source.name, _scale(c)) for c in cameras]
        for news in desk.news:
            note(f"{news.name}. {news.words}.")
        self._server = PageServer(desk, self._listening)
        self._server.__enter__()
        say_where(self._listening.address)
        note(notice(self._losses))

    def frame(self, camera: Camera, analysed: Analysed, age_ms: float) -> None:
        """After each frame."""
        if self._desk is None:
            return
        placed, number = analysed.placed, camera.number
        drawing = _Drawing(camera, analysed, self._losses)
        picture = Drawable(placed.frame.captured_s, time.monotonic(), drawing.jpeg)
        self._desk.pictures[number].show(picture)
        self._desk.news[number] = SourceNews(
            number, camera.source.name, _scale(camera), placed.frame.index, placed.focus,
            round(age_ms, 1), analysed.not_used, analysed.field, len(analysed.cells),
            camera.analyser.cells_counted,
        )  # fmt: skip

    def end(self, camera: Camera, counted: Sequence[CountedCell]) -> None:
        """The camera has ended; the page stays while it is served."""
        if self._desk is not None:
            self._desk.ended = True

    def wait(self) -> None:
        """The cameras have ended by themselves: the page is served until Ctrl-C."""
        note("The camera has ended. The page stays until Ctrl-C.")
        until_stopped()

    def close(self) -> None:
        """Ends the page."""
        if self._server is not None:
            self._server.__exit__(None, None, None)
        self._listening.socket.close()


def _scale(camera: Camera) -> str:
    return f"Scale: {camera.scale.words}"


@dataclass(frozen=True)
class _Drawing:
    camera: Camera
    analysed: Analysed
    losses: Sequence[str]

    def jpeg(self) -> bytes:
        import cv2

        image = annotated(self.camera, self.analysed, self.losses)
        quality = (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
        return cv2.imencode(".jpg", image[..., ::-1], quality)[1].tobytes()
