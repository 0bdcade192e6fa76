"""The drift meter: whether stain and background look like what the network was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import CROP_PX, Image
from heme_edge.detect.stain import BLUE_WEIGHT, TISSUE_DENSITY, background

Features = NDArray[np.float64]

NUCLEAR = 0.3
"""Least stain index (red + green - 2 x blue density) of nucleus."""
REACH_PX = 40
"""The cell lies within so many px of the middle of its crop."""
LEAST_PX = 40
LEAST_CROPS, MOST_CROPS = 40, 400
STAIN_LIMIT = 0.8
"""Root mean square distance from the nearest source, in deviations between its cells."""
WHITE_LIMIT = 0.12
"""Largest difference of a channel's share of the background, in ln."""
_ALL = np.ones((CROP_PX, CROP_PX), np.bool_)
_ROWS, _COLUMNS = np.mgrid[:CROP_PX, :CROP_PX] - (CROP_PX - 1) / 2
_NEAR = np.flatnonzero(np.hypot(_ROWS, _COLUMNS) < REACH_PX)


def stain_features(crop: Image) -> tuple[Features, Features] | None:
    """Background and stain of one crop, or None where it shows no nucleus with cytoplasm.

    Args:
        crop: RGB uint8 ``[96, 96, 3]``.

    Returns:
        RGB of the background; and ln of the mean optical density (Beer-Lambert) in R, G, B of
        nucleus, then of cytoplasm, ``[6]``.
    """
    white = background(crop, _ALL)
    densities = -np.log10(np.maximum(np.arange(256), 4.0)[:, None] / white)
    near = crop.reshape(-1, 3).take(_NEAR, 0)
    red, green, blue = (densities[:, c].take(near[:, c]) for c in range(3))
    tissue = red + green
    nucleus = tissue - BLUE_WEIGHT * blue > NUCLEAR
    cytoplasm = ~nucleus & (tissue > TISSUE_DENSITY)
    if min(map(np.count_nonzero, (nucleus, cytoplasm))) < LEAST_PX:
        return None
    means = [d[part].mean() for part in (nucleus, cytoplasm) for d in (red, green, blue)]
    return white, np.asarray(np.log(np.maximum(means, 0.01)), np.float64)


def optics_table(crops: Iterable[tuple[str, Image]]) -> dict[str, Any]:
    """The table ``optics`` of a bundle: background and stain of the training crops.

    Args:
        crops: (source, RGB uint8 ``[96, 96, 3]``).

    Returns:
        ``white_rgb``, the median of all crops; ``crops``, their number; ``stain``, by source the
        median background and the mean and deviation of the stain features.
    """
    by_source: dict[str, list[tuple[Features, Features]]] = {}
    for source, crop in crops:
        found = stain_features(crop)
        if found is not None:
            by_source.setdefault(source, []).append(found)
    if not by_source:
        return {}
    whites = np.concatenate([[white for white, _ in rows] for rows in by_source.values()])
    return {
        "white_rgb": np.median(whites, axis=0).round(1).tolist(),
        "crops": len(whites),
        "stain": {source: _statistics(rows) for source, rows in sorted(by_source.items())},
    }


def _statistics(rows: list[tuple[Features, Features]]) -> dict[str, Any]:
    stains = np.stack([stain for _, stain in rows])
    return {
        "crops": len(rows),
        "white_rgb": np.median([white for white, _ in rows], axis=0).round(1).tolist(),
        "mean": stains.mean(0).round(4).tolist(),
        "sd": np.maximum(stains.std(0), 0.02).round(4).tolist(),
    }


@dataclass
class DriftMeter:
    """Looks at the first crops of a session; belongs to one thread.

    Args:
        table: ``optics`` of the bundle; empty where it does not tell, and nothing is said then.
    """

    table: Mapping[str, Any]
    _seen: int = 0
    _features: list[tuple[Features, Features]] = field(default_factory=list)

    def see(self, crops: Image) -> None:
        """Takes crops ``[N, 96, 96, 3]`` in, until 400 were seen."""
        if not self.table:
            return
        new = crops[: max(0, MOST_CROPS - self._seen)]
        self._seen += len(new)
        self._features += [f for f in map(stain_features, new) if f is not None]

    def report(self) -> dict[str, Any] | None:
        """What was measured so far; None without a table or with fewer than 40 usable crops.

        ``stain`` and ``white`` are distances from the nearest training source, ``warnings`` the
        sentences for those beyond their limit.
        """
        if not self.table or len(self._features) < LEAST_CROPS:
            return None
        white = np.median([white for white, _ in self._features], axis=0)
        mean = np.mean([stain for _, stain in self._features], axis=0)
        sources = self.table["stain"].values()
        stain = min((_stain_distance(mean, s) for s in sources), key=abs)
        colour = min(_white_distance(white, s["white_rgb"]) for s in sources)
        return {
            "crops": len(self._features),
            "white_rgb": white.round(1).tolist(),
            "stain": round(abs(stain), 2),
            "white": round(colour, 3),
            "warnings": list(self._warnings(stain, colour, white)),
        }

    def _warnings(self, stain: float, colour: float, white: Features) -> Iterable[str]:
        if abs(stain) > STAIN_LIMIT:
            how = "stronger" if stain > 0 else "paler"
            yield (
                f"The stain is unlike the training data's: {how} or of another hue, "
                f"{abs(stain):.1f} deviations from the nearest laboratory. Names may be wrong."
            )
        if colour > WHITE_LIMIT:
            rgb = ", ".join(f"{value:.0f}" for value in white)
            yield (
                f"The background ({rgb}) has another colour than the training data's. "
                "heme-calibrate optics measures it, and --optics takes the cast away."
            )


def _stain_distance(mean: Features, source: Mapping[str, Any]) -> float:
    """Root mean square of the deviations; negative where the stain is paler on the whole."""
    away = (mean - np.asarray(source["mean"])) / np.asarray(source["sd"])
    size = float(np.sqrt(np.mean(away**2)))
    return size if away.mean() >= 0 else -size


def _white_distance(white: Features, of: Iterable[float]) -> float:
    """Largest difference of ln of the channels, once their mean (the exposure) is taken off."""
    away = np.log(np.maximum(white, 1.0)) - np.log(np.maximum(np.asarray(list(of)), 1.0))
    return float(np.abs(away - away.mean()).max())
