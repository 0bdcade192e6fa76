"""The frame-source interface: camera, stream, video, folder and simulated stage alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from heme_edge.crops import Image

CoreUm = tuple[float, float, float, float]
"""Left, top, right and bottom on a slide, µm."""


@dataclass(frozen=True)
class SlidePlace:
    """Where a frame lies on a whole slide, µm from the centre of the slide's first pixel.

    Attributes:
        x_um, y_um: the centre of the frame's first pixel.
        core_um: left, top, right and bottom of the part whose cells are this frame's; what lies
            around it is shown so that they are seen whole, and is another frame's.
    """

    x_um: float
    y_um: float
    core_um: CoreUm


@dataclass(frozen=True)
class Frame:
    """One picture from a source.

    Attributes:
        image: RGB uint8 ``[H, W, 3]``.
        index: number of the captured frame, from 0; gaps are frames a live source dropped.
        captured_s: ``time.monotonic()`` when it was captured, seconds.
        name: file name for a folder, else empty.
        place: where it lies on a whole slide, None for other sources.
    """

    image: Image
    index: int
    captured_s: float
    name: str = ""
    place: SlidePlace | None = None


class FrameSource(Protocol):
    """Where frames come from.

    A live source drops frames (newest wins); a file never does. ``read`` is called by one
    thread; ``close`` may be called from any thread, twice, and ends a waiting ``read``.
    """

    @property
    def name(self) -> str:
        """What it is, for people: ``camera 0``, ``video smear.mp4``, ``simulated stage``."""
        ...

    @property
    def live(self) -> bool:
        """Whether frames that are not read in time are dropped."""
        ...

    @property
    def um_per_px(self) -> float | None:
        """Scale in µm/px where the source knows it (the simulated stage does)."""
        ...

    @property
    def captured(self) -> int:
        """Frames captured so far, dropped ones included."""
        ...

    def read(self) -> Frame | None:
        """The next frame (for a live source the newest not yet read), or None at the end.

        Blocks until there is one.

        Raises:
            SourceError: the source was lost (camera unplugged, stream ended mid-way, damaged file).
        """
        ...

    def close(self) -> None:
        """Releases the device or file; ``read`` returns None afterwards."""
        ...
