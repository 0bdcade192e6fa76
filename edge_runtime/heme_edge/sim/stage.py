"""The simulated stage: a frame source that scans a drawn smear in real time."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from heme_edge.crops import Image
from heme_edge.errors import SourceError
from heme_edge.frames.base import Frame
from heme_edge.sim.camera import SimulatedCamera
from heme_edge.sim.path import Pose, StagePath
from heme_edge.sim.slide import Smear, draw_smear
from heme_edge.sim.tours import TOUR_VIEW_PX, TOURS, Tour, TourPath, tour_slide
from heme_edge.sim.truth import TruthFile

VIEW_PX = (1280, 720)
VIEW_UM_PER_PX = 0.25
FPS = 30.0
STEP = 0.6
"""From one stop of the scan to the next, as a share of the view."""


class SimulatedStage:
    """A microscope that is not there: a drawn marrow smear under a moving stage.

    Frame ``k`` is due at ``k / fps`` seconds and shows the same picture for the same seed
    whenever it is read. A frame is drawn only when it is read; one that was due and not read
    counts as dropped, as with a camera.

    Args:
        seed: of the slide, the path and the noise.
        truth: JSONL file for what is really there (see `TruthFile`).
        crops: folder of real single-cell images to show instead of drawn cells.
        view: width and height of a frame in px.
        um_per_px: scale of a frame.
        fps: frames per second.
        smear: a slide to show instead of the one of ``seed``.
        tour: a way to go over the slide, after which there are no more frames; by default the
            stage scans without end.

    Raises:
        SourceError: the truth file cannot be written, or the folder holds no usable crops.
    """

    live = True
    simulated = True
    name = "simulated stage"

    def __init__(
        self,
        *,
        seed: int = 0,
        truth: Path | None = None,
        crops: Path | None = None,
        view: tuple[int, int] = VIEW_PX,
        um_per_px: float = VIEW_UM_PER_PX,
        fps: float = FPS,
        smear: Smear | None = None,
        tour: Tour | None = None,
    ) -> None:
        self.um_per_px: float | None = um_per_px
        self.smear = smear or _draw(seed, crops)
        reach, step = _scan(self.smear, view, um_per_px)
        self.path: StagePath | TourPath = (
            TourPath(tour, seed, reach, fps) if tour else StagePath(seed, reach, step, fps)
        )
        self._camera = SimulatedCamera(self.smear, view, um_per_px, seed)
        self._truth = TruthFile(truth, self.smear.cells, view, um_per_px) if truth else None
        self._fps = fps
        self._captured = 0
        self._start_s: float | None = None
        self._closed = threading.Event()
        self._truth_lock = threading.Lock()

    @property
    def captured(self) -> int:
        """Frames due up to the newest that was read, dropped ones included."""
        return self._captured

    def pose(self, frame: int) -> Pose:
        """Where the stage stands at a frame number."""
        return self.path.pose(frame)

    def render(self, frame: int) -> Image:
        """The picture of a frame number, RGB uint8 ``[H, W, 3]``, at once."""
        return self._camera.render(frame, self.pose(frame))

    def read(self) -> Frame | None:
        """The newest frame not yet read, waiting until it is due; None once closed or at the end.

        The clock starts with the first call.
        """
        if self._start_s is None:
            self._start_s = time.monotonic()
        due_s = self._start_s + self._captured / self._fps
        if self._closed.wait(max(0.0, due_s - time.monotonic())):
            return None
        late = int((time.monotonic() - due_s) * self._fps)
        number = self._captured + max(0, late)
        if self.path.frames is not None and number >= self.path.frames:
            return None
        self._record(number)
        self._captured = number + 1
        return Frame(self.render(number), number, self._start_s + number / self._fps)

    def close(self) -> None:
        """Ends a waiting ``read``; later ones return None."""
        self._closed.set()
        with self._truth_lock:
            if self._truth:
                self._truth.close()
                self._truth = None

    def _record(self, number: int) -> None:
        """Truth lines for the frames due since the last that was read."""
        with self._truth_lock:
            if self._truth:
                for frame in range(self._captured, number + 1):
                    self._truth.frame(frame, self.pose(frame))


def open_tour(
    number: int, seed: int = 0, truth: Path | None = None, crops: Path | None = None
) -> SimulatedStage:
    """The simulated stage on the tour of a number: 1280x960 px at 30 frames per second.

    Raises:
        SourceError: no such tour, or as `SimulatedStage`.
    """
    if not 0 <= number < len(TOURS):
        raise SourceError(
            f"There is no tour {number} of the simulated stage.",
            f"Give --sim-tour a number from 0 to {len(TOURS) - 1}.",
        )
    return SimulatedStage(
        seed=seed, truth=truth, view=TOUR_VIEW_PX, smear=tour_slide(seed, crops),
        tour=TOURS[number],
    )  # fmt: skip


def _draw(seed: int, crops: Path | None) -> Smear:
    if crops is None:
        return draw_smear(seed)
    from heme_edge.sim.pasted import load_crops

    real = load_crops(crops)
    return draw_smear(seed, mix=real.mix(), draw=real.draw)


def _scan(
    smear: Smear, view: tuple[int, int], um_per_px: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """How far the view can move in x and y, and the steps of the scan, µm."""
    height, width = smear.image.shape[:2]
    width_um, height_um = view[0] * um_per_px, view[1] * um_per_px
    reach = width * smear.um_per_px - width_um - 1, height * smear.um_per_px - height_um - 1
    return (max(0.0, reach[0]), max(0.0, reach[1])), (width_um * STEP, height_um * STEP)
