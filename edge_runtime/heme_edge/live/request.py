"""What the user of ``heme-edge live`` asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from heme_edge.errors import HemeError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv")
DEFAULT_PICTURE = Path("heme-live.jpg")
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Request:
    """One session.

    Attributes:
        cameras: what ``open_source`` opens, each a source of its own.
        um_per_px: None means from ``optics``, what the source knows, or measured on red cells.
        real_time: videos are played at their own rate, and frames that are late are dropped.
        session: folder that everything is written to, begun anew.
        resume: folder of a session that is gone on with.
        web: ``HOST:PORT`` that the page is served at; None: no page.
        target, until: counted cells, and the stop rule (``M1 20``), after which counting rests on
            the page, and ends without one; 0 and empty: none.
        patience_s: a camera or stream that is lost is waited for so long.
        record: video of what was analysed; its overlay goes beside it.
        window: annotated frames are shown on the screen.
    """

    cameras: tuple[str, ...]
    um_per_px: float | None = None
    seconds: float | None = None
    headless: bool = False
    picture: Path | None = None
    sim_seed: int = 0
    sim_truth: Path | None = None
    sim_crops: Path | None = None
    sim_tour: int | None = None
    bundle: Path | None = None
    precision: str = "auto"
    backend: str = "auto"
    optics: Path | None = None
    patience_s: float = PATIENCE_S
    real_time: bool = False
    record: Path | None = None
    window: bool = False
    session: Path | None = None
    resume: Path | None = None
    web: str | None = None
    target: int = 0
    until: str = ""
    detector: str = "auto"


def numbered(path: Path, number: int, request: Request) -> Path:
    """The file of one source: of several each has its own, ``live-0.jpg``, ``live-1.jpg``."""
    if len(request.cameras) == 1:
        return path
    return path.with_stem(f"{path.stem}-{number}")


def picture_file(request: Request, number: int) -> Path:
    """Where the annotated picture of a source goes.

    Raises:
        HemeError: not a picture's name.
    """
    path = request.picture or DEFAULT_PICTURE
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise HemeError(f"'{path}' is not a .jpg or .png file.", "--picture live.jpg")
    return numbered(path, number, request)


def recording_file(request: Request, number: int) -> Path:
    """Where the recording of a source goes.

    Raises:
        HemeError: not a video's name, or it or its overlay is there already.
    """
    path = numbered(request.record or Path(), number, request)
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        raise HemeError(f"'{path}' is not a .mp4, .avi or .mkv file.", "--record smear.mp4")
    for file in (path, path.with_suffix(".jsonl")):
        if file.exists():
            raise HemeError(f"'{file}' is there already.", "--record with another name")
    return path
