"""The optics profile: a JSON file that says how one camera and objective see a slide."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heme_edge import RESEARCH_USE_ONLY
from heme_edge.errors import OpticsError
from heme_edge.optics.scale import LEAST_UM_PER_PX, MOST_UM_PER_PX
from heme_edge.optics.white import Rgb
from heme_edge.writing import write_whole

FORMAT, FORMAT_VERSION = "heme-edge-optics", 1
GRID = (24, 32)
"""Rows and columns of the flat field."""
MOST_GAIN = 8.0
"""A place with less light than an eighth of the brightest cannot be told from the surround."""
SAME_ASPECT = 0.01
MAX_BYTES = 1_000_000
HINT = "Make it again: heme-calibrate optics --photos DIR -o scope.json"
Gains = NDArray[np.float32]


@dataclass(frozen=True)
class RoundField:
    """A round field of view.

    Attributes:
        x, y: its centre, as shares of the frame's width and height.
        radius: as a share of the frame's width.
    """

    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class OpticsProfile:
    """How one camera behind one objective sees a slide, in the sensor's own orientation.

    Attributes:
        um_per_px: scale of a frame of ``width_px``, with its 95 % interval and where it came
            from: ``red-cells``, ``micrometer``, ``objective`` or ``given``.
        white_rgb: RGB of the empty background where the light is fullest, 0..255.
        flat_field: gains ``[24, 32, 3]`` that make the background even; 1 where it is fullest.
        round_field: what an eyepiece shows, or None where the slide fills the frame.
        width_px, height_px: the frames it was measured on.
        camera, objective, name, created: for people; ``created`` is an ISO date.
    """

    um_per_px: float
    um_per_px_low95: float
    um_per_px_high95: float
    um_per_px_source: str
    white_rgb: Rgb
    flat_field: Gains
    round_field: RoundField | None
    width_px: int
    height_px: int
    camera: str = ""
    objective: str = ""
    name: str = ""
    created: str = ""

    def um_per_px_at(self, width_px: int) -> float:
        """Scale of a frame of the same view with another number of pixels."""
        return self.um_per_px * self.width_px / width_px

    def check_frame(self, shape: Sequence[int]) -> None:
        """Whether frames of ``shape`` (height, width, …) show the same view.

        Raises:
            OpticsError: their sides are in another proportion.
        """
        height, width = shape[:2]
        if abs(width * self.height_px / (height * self.width_px) - 1) > SAME_ASPECT:
            raise OpticsError(
                f"The picture is {width}x{height} px, but the optics profile is of "
                f"{self.width_px}x{self.height_px} px, another shape of frame.",
                "Use the camera as it was when the profile was made, or make a profile for this "
                "setting: heme-calibrate optics",
            )


def save_profile(profile: OpticsProfile, path: Path) -> None:
    """Writes the profile whole or not at all.

    Raises:
        OpticsError: it cannot be written.
    """
    content = asdict(profile)
    content["flat_field"] = np.round(profile.flat_field, 4).astype(float).round(4).tolist()
    head = {"format": FORMAT, "format_version": FORMAT_VERSION, "notice": RESEARCH_USE_ONLY}
    text = json.dumps(head | content, ensure_ascii=False) + "\n"
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise OpticsError(
            f"The optics profile cannot be written to '{path}' ({error.strerror or error}).",
            "Free space, or choose another -o",
        ) from error


def load_profile(path: Path) -> OpticsProfile:
    """Reads a profile and checks every number in it.

    Raises:
        OpticsError: it is missing, damaged, newer than this program, or holds an impossible value.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise OpticsError(
            f"The optics profile '{path}' cannot be read ({error.strerror or error}).", HINT
        ) from error
    try:
        return _parsed(data)
    except OpticsError as error:
        raise OpticsError(f"The optics profile '{path}' {error.message}", error.hint) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise OpticsError(f"The optics profile '{path}' is damaged ({error}).", HINT) from error


def _parsed(data: bytes) -> OpticsProfile:
    content = json.loads(data.decode())
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise OpticsError("is not an optics profile.", HINT)
    if content["format_version"] != FORMAT_VERSION:
        raise OpticsError(
            f"has format {content['format_version']}; this program knows {FORMAT_VERSION}.",
            "pip install --upgrade heme-edge, or make the profile again",
        )
    low, scale, high = (
        _number(content, f"um_per_px{end}", LEAST_UM_PER_PX / 2, MOST_UM_PER_PX * 2)
        for end in ("_low95", "", "_high95")
    )
    if not low <= scale <= high or not LEAST_UM_PER_PX <= scale <= MOST_UM_PER_PX:
        raise OpticsError(f"has an impossible scale: {scale:g} ({low:g}-{high:g}) µm/px.", HINT)
    texts = ("um_per_px_source", "camera", "objective", "name", "created")
    white = _array(content, "white_rgb", (3,), 1.0, 255.0)
    return OpticsProfile(
        scale,
        low,
        high,
        white_rgb=(float(white[0]), float(white[1]), float(white[2])),
        flat_field=_array(content, "flat_field", (*GRID, 3), 0.1, MOST_GAIN),
        round_field=_round_field(content["round_field"]),
        width_px=int(_number(content, "width_px", 16, 100_000)),
        height_px=int(_number(content, "height_px", 16, 100_000)),
        **{key: str(content[key]) for key in texts},
    )


def _round_field(content: dict[str, Any] | None) -> RoundField | None:
    if content is None:
        return None
    x, y = (_number(content, key, 0.0, 1.0) for key in ("x", "y"))
    return RoundField(x, y, _number(content, "radius", 0.05, 2.0))


def _number(content: dict[str, Any], key: str, least: float, most: float) -> float:
    value = content[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise OpticsError(f"has no number in '{key}'.", HINT)
    if not least <= value <= most:
        raise OpticsError(f"has an impossible '{key}': {value:g}.", HINT)
    return float(value)


def _array(
    content: dict[str, Any], key: str, shape: tuple[int, ...], least: float, most: float
) -> Gains:
    values = np.asarray(content[key], np.float32)
    if values.shape != shape:
        raise OpticsError(f"has a '{key}' that is not {'x'.join(map(str, shape))} numbers.", HINT)
    if not (np.isfinite(values) & (values >= least) & (values <= most)).all():
        raise OpticsError(f"has an impossible value in '{key}'.", HINT)
    return values
