"""Frame sources: cameras, streams, videos, folders and the simulated stage."""

from __future__ import annotations

from pathlib import Path

from heme_edge.errors import SourceError
from heme_edge.frames.base import Frame, FrameSource

__all__ = ["Frame", "FrameSource", "is_simulated", "open_source"]

STREAM_SCHEMES = ("http://", "https://", "rtsp://")
CAMERA_SIZE = (1920, 1080)
"""Width and height in px asked of a camera; the driver gives the nearest it has."""


def open_source(
    spec: str,
    *,
    sim_seed: int = 0,
    sim_truth: Path | None = None,
    sim_crops: Path | None = None,
    sim_tour: int | None = None,
    real_time: bool = False,
    stall_s: float = 5.0,
    camera_size: tuple[int, int] = CAMERA_SIZE,
) -> FrameSource:
    """Opens what ``spec`` names.

    Args:
        spec: digits = camera index; ``/dev/...`` = camera path; ``csi`` or ``csi:1`` = camera on
            a Jetson's CSI connector; ``http://``, ``https://`` or ``rtsp://`` = network stream;
            ``sim`` = the simulated stage; a folder = its photos; a file = a whole slide or a
            video. A folder that is called ``sim`` is ``./sim``.
        sim_seed: seed of the simulated slide and stage.
        sim_truth: JSONL file that the simulated stage writes what is really there to.
        sim_crops: folder of real single-cell images that the simulated stage shows.
        sim_tour: number of a tour that the simulated stage goes; None scans without end.
        real_time: a video is played as a camera would give it, dropping frames that are late.
        stall_s: a live source that gives no new picture for so many seconds is lost.
        camera_size: width and height in px to ask of a camera.

    Raises:
        SourceError: there is no such source, or it cannot be opened.
    """
    if spec == "sim":
        from heme_edge.sim.stage import SimulatedStage, open_tour

        if sim_tour is not None:
            return open_tour(sim_tour, sim_seed, sim_truth, sim_crops)
        return SimulatedStage(seed=sim_seed, truth=sim_truth, crops=sim_crops)
    if spec.isdecimal() or spec.startswith("/dev/"):
        from heme_edge.frames.camera import open_camera

        return open_camera(spec, stall_s=stall_s, size=camera_size)
    if spec == "csi" or spec.startswith("csi:"):
        from heme_edge.frames.csi import open_csi

        return open_csi(spec, stall_s=stall_s, size=camera_size)
    if spec.lower().startswith(STREAM_SCHEMES):
        from heme_edge.frames.stream import open_stream

        return open_stream(spec, stall_s=stall_s)
    return _open_path(spec, real_time)


def is_simulated(source: FrameSource) -> bool:
    """Whether the pictures are drawn, so that every view of them must say so."""
    return bool(getattr(source, "simulated", False))


def _open_path(spec: str, real_time: bool) -> FrameSource:
    path = Path(spec).expanduser()
    if spec and path.is_dir():
        from heme_edge.frames.folder import PhotoFolder

        return PhotoFolder(path)
    from heme_edge.frames.pyramid import SLIDE_SUFFIXES

    if path.is_file() and path.suffix.lower() in SLIDE_SUFFIXES:
        from heme_edge.frames.whole_slide import WholeSlide

        return WholeSlide(path)
    if path.is_file():
        from heme_edge.frames.video import VideoFile

        return VideoFile(path, real_time=real_time)
    raise SourceError(
        f"There is no camera, stream, video or folder called {spec!r}.",
        "Give a camera number (0), csi, a stream (http://… or rtsp://…), a video file, a folder of "
        "photos, or 'sim' for the simulated stage.",
    )
