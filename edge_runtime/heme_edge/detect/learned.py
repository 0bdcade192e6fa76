"""Cells by a small network that was trained on composed marrow and real fields."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from heme_edge.backends.onnxruntime_cpu import session_options
from heme_edge.crops import Image
from heme_edge.detect.base import Detector, Finds
from heme_edge.detect.field_of_view import Mask, field_of_view
from heme_edge.detect.stain import background
from heme_edge.detect.working_scale import LEAST_SIDE_PX, WORKING_UM_PER_PX, at_working_scale
from heme_edge.errors import BundleError, DetectorError
from heme_edge.results import NUCLEATED, PLATELET_CLUMP, DetectedCell

if TYPE_CHECKING:
    from heme_edge.bundle import Bundle

STRIDE = 4
"""The network's grid, px of the working scale."""
MULTIPLE = 16
"""Height and width of what the network is given."""
WHITE = 235.0
"""The empty background is brought to this level in each channel."""
LEAST_LIGHT = 24
"""A frame of whose green 99 % is darker than this (of 255) shows nothing."""
RIM_PX = 1.0
"""No centre is nearer to the border, px of the working scale."""
LOOK_STEP = 6
"""The background is looked for in every sixth row and column."""
KINDS = {0: NUCLEATED, 1: PLATELET_CLUMP}
"""Kinds of finds by number of their heat."""
TOO_NEAR = 0.62
"""Of two cells nearer than this share of the larger radius only the surer one is kept."""

Maps = NDArray[np.float32]
Peaks = NDArray[np.float64]


def normalised(image: Image, field: Mask) -> Image:
    """The picture with its empty background white, whatever the lamp.

    Args:
        image: RGB uint8 ``[H, W, 3]`` at the working scale.
        field: the field of view; the surround of an eyepiece is made white too.
    """
    white = background(image, field, LOOK_STEP) if field.any() else np.full(3, WHITE)
    levels = np.arange(256)[:, None] * (WHITE / white)
    table = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    evened = np.asarray(cv2.LUT(image, table[None]), np.uint8)
    if not field.all():
        evened[~field] = round(WHITE)
    return evened


@dataclass(frozen=True)
class DetectorSpec:
    """What a bundle says of its detector.

    Attributes:
        looks_for: in words.
        min_score: of nucleated cells, and of platelet clumps.
        files: file name by precision, ``fp32`` and ``int8``.
    """

    looks_for: tuple[str, ...]
    min_score: tuple[float, float]
    files: dict[str, str]


def spec_of(bundle: Bundle) -> DetectorSpec:
    """What a bundle says of its detector.

    Raises:
        BundleError: that is not what it should be.
    """
    table = bundle.info.detector
    try:
        low, high = (float(table["min_score"][kind]) for kind in KINDS.values())
        files = {str(k): str(v) for k, v in table["files"].items()}
        if table["um_per_px"] != WORKING_UM_PER_PX or table["stride"] != STRIDE:
            raise ValueError("scale or grid")
        return DetectorSpec(
            tuple(map(str, table["looks_for"])), (low, high), {"fp32": files["fp32"], **files}
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            f"The detector of the bundle '{bundle.info.name}' is of a kind that this program "
            f"does not know ({error}).",
            "pip install --upgrade heme-edge",
        ) from error


class LearnedDetector(Detector):
    """Finds nucleated cells of any size, and platelet clumps, with a network of a bundle.

    Args:
        model: the ONNX file (`heme_export.detector` tells its inputs and outputs).
        spec: what the bundle says of it.
        threads: of the network; 0 is one for each core.

    Raises:
        DetectorError: the file cannot be used.
    """

    def __init__(self, model: Path, spec: DetectorSpec, threads: int = 0) -> None:
        self._session = _open(model, threads)
        self._spec = spec

    @property
    def name(self) -> str:
        """``learned``."""
        return "learned"

    @property
    def looks_for(self) -> tuple[str, ...]:
        """What the bundle lists."""
        return self._spec.looks_for

    def find(self, image: Image, um_per_px: float) -> list[DetectedCell]:
        """Cells of one field, surest first.

        Args:
            image: RGB uint8 ``[H, W, 3]``.
            um_per_px: scale, 0.05 to 1.0 µm/px.
        """
        return self.look(image, um_per_px).cells

    def look(self, image: Image, um_per_px: float) -> Finds:
        """Cells, and where the field is too thick to read."""
        small = at_working_scale(image, um_per_px)
        height, width = small.shape[:2]
        if (
            min(height, width) < LEAST_SIDE_PX
            or np.percentile(small[::8, ::8, 1], 99) < LEAST_LIGHT
        ):
            return Finds([])
        given, field = ready(small)
        maps = self._session.run(None, {"field": given[None]})[0][0]
        maps = maps[:, : -(-height // STRIDE), : -(-width // STRIDE)]
        scales = image.shape[1] / width, image.shape[0] / height
        found = [peaks(maps, kind, self._spec.min_score[kind]) for kind in KINDS]
        places = _in_picture(np.vstack(found), width, height)
        kept = _apart(places[field[places[:, 1].astype(int), places[:, 0].astype(int)]])
        return Finds([_cell(row, scales) for row in kept.tolist()], maps[5])


def _open(model: Path, threads: int) -> Any:
    import onnxruntime

    options = session_options(threads)
    # A thread that spins while it waits takes a core from the threads that read and score.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises types of its own
        raise DetectorError(f"The detector '{model.name}' cannot be used: {error}") from error


def ready(small: Image) -> tuple[Image, Mask]:
    """What the network is given of a field at the working scale, and the field of view."""
    field = field_of_view(small)
    return _padded(normalised(small, field)), field


def _padded(image: Image) -> Image:
    """White at the right and below until both sides are multiples of ``MULTIPLE``."""
    below, right = (-side % MULTIPLE for side in image.shape[:2])
    white = (round(WHITE),) * 3
    return np.asarray(
        cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT, value=white), np.uint8
    )


def peaks(maps: Maps, kind: int, least: float) -> Peaks:
    """Places that are surer than their neighbours on the grid.

    Args:
        maps: of the network, ``[6, h, w]``.
        kind: number of the heat.
        least: score that a place must have.

    Returns:
        ``[N, 5]``: x, y and radius (px of the working scale), score, kind.
    """
    heat = maps[kind]
    around = cv2.dilate(heat, np.ones((3, 3), np.uint8))
    rows, columns = np.nonzero((heat >= around) & (heat >= least))
    middle = (STRIDE - 1) / 2
    radius, x, y = maps[2:5, rows, columns]
    return np.column_stack(
        [
            (columns + x) * STRIDE + middle,
            (rows + y) * STRIDE + middle,
            radius / WORKING_UM_PER_PX,
            heat[rows, columns],
            np.full(len(rows), kind),
        ]
    ).astype(np.float64)


def _in_picture(places: Peaks, width: int, height: int) -> Peaks:
    """The places, moved into the picture: of a cut cell the middle may lie outside."""
    highest = np.maximum(RIM_PX, np.array([width, height]) - 1 - RIM_PX)
    moved = places.copy()
    moved[:, :2] = np.clip(places[:, :2], RIM_PX, highest)
    return moved


def _apart(places: Peaks) -> Peaks:
    """The surest of those that are too near to each other to be two, surest first."""
    order = places[np.argsort(-places[:, 3], kind="stable")]
    away = np.hypot(*(order[:, None, :2] - order[:, :2]).transpose(2, 0, 1))
    near = away < TOO_NEAR * np.maximum(order[:, None, 2], order[:, 2])
    kept = np.ones(len(order), np.bool_)
    for k in np.flatnonzero(near.sum(1) > 1):
        kept[k] = not (near[k, :k] & kept[:k]).any()
    return order[kept]


def _cell(place: list[float], scales: tuple[float, float]) -> DetectedCell:
    x, y, radius, score, kind = place
    size = (scales[0] * scales[1]) ** 0.5
    return DetectedCell(
        (x + 0.5) * scales[0] - 0.5,
        (y + 0.5) * scales[1] - 0.5,
        radius * size,
        score,
        KINDS[int(kind)],
    )
