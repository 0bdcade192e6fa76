"""One score of a field for photos, slides and live alike: where it can be read, and why not.

A field is divided into square regions of about 48 µm; each gets one verdict. All is measured on
green, where every blood stain absorbs, at 0.5 µm/px.

Focus is judged from one picture: an edge that is blurred again by two known amounts loses more of
its steepness the sharper it was (Zhuo & Sim, *Defocus map estimation from a single image*,
Pattern Recognition 2011;44:1852-1858). Thickness is judged by the glass: in a layer of single
cells some of it is bare in every region, where cells lie in a heap none is and little light passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from heme_edge.crops import Image
    from heme_edge.detect.field_of_view import Mask

READABLE, EMPTY, TOO_THICK, OUT_OF_FOCUS = "readable", "empty", "too-thick", "out-of-focus"
BLACK, SATURATED = "black", "saturated"
VERDICTS = (READABLE, EMPTY, TOO_THICK, OUT_OF_FOCUS, BLACK, SATURATED)
"""Every verdict there is; ``black`` and ``saturated`` are of whole fields only."""

REGION_UM = 48.0
MIN_BRIGHT = 60
"""A field whose 95th percentile of green is below this (of 255) is black."""
SATURATED_BRIGHT = 250
"""A field of one flat colour at least so bright is saturated, not empty."""
MIN_CONTRAST = 25
"""A region whose green spreads less than this, from 0.2 to 99.8 %, holds no cell: a quarter of the
smallest nucleus, cut off by the corners of four regions, is 0.2 % of one."""
MAX_BLUR_UM = 0.8
"""Standard deviation of the blur of the sharper quarter of a region's strong edges."""
STRONG = 0.5
"""An edge is strong from this share of the steepest in its region."""
INNER_PX, OUTER_PX = 1.0, 2.0
"""The two amounts by which edges are blurred again, px of the working scale."""
NO_GLASS = 0.06
"""Density (-log10 of light over the light of bare glass) that all but a tenth of a region exceeds
where no glass is bare."""
HEAP_DENSITY = 0.38
"""Mean density of a region in which cells lie upon each other."""
THICK_SHARE, AGREED_SHARE = 0.5, 0.1
"""With a map of thick places: a region is too thick from the first share on, and from the second
where no glass is bare either. A megakaryocyte that fills a region is no heap."""
LEAST_IN_VIEW = 0.1
"""Regions of which less is in a round field of view have no verdict of their own."""
RICH = 0.3
"""Share of nuclei beyond which a field is not the better for more."""

Regions = NDArray[np.uint8]


@dataclass(frozen=True)
class FieldScore:
    """What can be read in a field.

    Attributes:
        verdict: of the whole field, one of ``VERDICTS``: ``readable`` when half of what is not
            empty can be read, else what most of the rest is.
        regions: index in ``VERDICTS`` of each region, ``[rows, columns]``; they divide the
            picture evenly.
        size_px: width and height of the picture.
        readable_share: regions that are readable, as a share of those in view.
        nuclear_share: share of the field that is nuclear stain in readable regions, 0..1; NaN
            where it was not asked for.
        blur_um: median over the regions with cells, standard deviation in µm; NaN without any.
    """

    verdict: str
    regions: Regions
    size_px: tuple[int, int]
    readable_share: float
    nuclear_share: float
    blur_um: float

    def at(self, x_px: float, y_px: float) -> str:
        """Verdict of the region at a place of the picture."""
        rows, columns = self.regions.shape
        column = min(max(int((x_px + 0.5) * columns / self.size_px[0]), 0), columns - 1)
        row = min(max(int((y_px + 0.5) * rows / self.size_px[1]), 0), rows - 1)
        return VERDICTS[self.regions[row, column]]

    @property
    def rank(self) -> float:
        """How much a field is worth looking at, 0 and up: readable, and rich in nuclei."""
        return min(self.nuclear_share, RICH) if self.readable else 0.0

    @property
    def readable(self) -> bool:
        """Whether the field as a whole is readable."""
        return self.verdict == READABLE


def is_lit(image: Image) -> bool:
    """Whether a field of unknown scale has light and contrast: not black, not one flat colour."""
    low, bright, high = np.percentile(image[::4, ::4, 1], (1, 95, 99))
    return bool(bright >= MIN_BRIGHT and high - low >= MIN_CONTRAST)


def score_field(
    image: Image,
    um_per_px: float,
    *,
    glass: float | None = None,
    thick: NDArray[np.bool_] | Callable[[], NDArray[np.bool_] | None] | None = None,
    nuclei: bool = True,
) -> FieldScore:
    """Scores one field; some ten milliseconds for 1920x1080 px.

    Args:
        image: RGB uint8 ``[H, W, 3]``.
        um_per_px: its scale.
        glass: green of bare glass, 0..255, where it is known (a slide's overview tells it); the
            97th percentile of the field where that is brighter, and by default.
        thick: where a detector found a heap of cells, over the same field at any resolution; a
            function that tells it is called late, so that a detector can work beside this.
        nuclei: whether nuclear stain is measured too, which a `rank` needs.
    """
    from heme_edge.detect.field_of_view import field_of_view
    from heme_edge.detect.working_scale import at_working_scale

    small = at_working_scale(image, um_per_px)
    green = np.ascontiguousarray(small[..., 1])
    size = image.shape[1], image.shape[0]
    shape = _grid(small)
    if at_share(levels_of(green), 0.95) < MIN_BRIGHT:
        return _whole(BLACK, shape, size)
    view = inner_part(field_of_view(small))
    glass = max(float(at_share(levels_of(green, view), 0.97)), glass or 1.0)
    verdicts, blurs = _judge(green, view, glass, shape, thick)
    in_view = verdicts >= 0
    counts = np.bincount(verdicts[in_view], minlength=len(VERDICTS))
    if counts[VERDICTS.index(EMPTY)] == counts.sum():
        flat = SATURATED if glass >= SATURATED_BRIGHT else EMPTY
        return _whole(flat, shape, size)
    regions = np.where(in_view, verdicts, VERDICTS.index(READABLE)).astype(np.uint8)
    return FieldScore(
        _most(counts),
        regions,
        size,
        float(counts[0] / max(1, counts.sum())),
        _nuclear_share(small, view, regions) if nuclei else float("nan"),
        float(np.median(blurs)) if blurs else float("nan"),
    )


def _grid(small: Image) -> tuple[int, int]:
    """Rows and columns of regions."""
    from heme_edge.detect.working_scale import WORKING_UM_PER_PX

    rows, columns = (max(1, round(n * WORKING_UM_PER_PX / REGION_UM)) for n in small.shape[:2])
    return rows, columns


def _whole(verdict: str, shape: tuple[int, int], size: tuple[int, int]) -> FieldScore:
    regions = np.full(shape, VERDICTS.index(verdict), np.uint8)
    return FieldScore(verdict, regions, size, 0.0, 0.0, float("nan"))


def inner_part(view: Mask) -> Mask:
    """The field of view without its rim, whose edge is no cell's."""
    import cv2

    if view.all():
        return view
    return cv2.erode(view.astype(np.uint8), np.ones((9, 9), np.uint8), borderValue=1) > 0


def _judge(
    green: NDArray[np.uint8],
    view: Mask,
    glass: float,
    shape: tuple[int, int],
    thick: NDArray[np.bool_] | Callable[[], NDArray[np.bool_] | None] | None,
) -> tuple[NDArray[np.int64], list[float]]:
    """Verdict of each region (-1: hardly in view), and the blur of those that are not empty."""
    verdicts = np.full(shape, -1, np.int64)
    steep, softer = (steepness(green, sigma) for sigma in (INNER_PX, OUTER_PX))
    steep[~view] = 0.0
    places = thick() if callable(thick) else thick
    heaps = None if places is None else _shares(places, shape)
    blurs: list[float] = []
    for place, window in _windows(green.shape, shape):
        inside = view[window]
        if np.count_nonzero(inside) < LEAST_IN_VIEW * inside.size:
            continue
        levels = levels_of(green[window], inside)
        if contrast(levels) < MIN_CONTRAST:
            verdicts[place] = VERDICTS.index(EMPTY)
            continue
        blur = edge_blur_um(steep[window], softer[window])
        blurs.append(blur)
        heap = is_heap(levels, glass)
        if heaps is not None:
            heap = bool(heaps[place] >= (AGREED_SHARE if heap else THICK_SHARE))
        verdict = TOO_THICK if heap else OUT_OF_FOCUS if blur > MAX_BLUR_UM else READABLE
        verdicts[place] = VERDICTS.index(verdict)
    return verdicts, blurs


def _windows(
    size: tuple[int, ...], shape: tuple[int, int]
) -> Iterator[tuple[tuple[int, int], tuple[slice, slice]]]:
    """Place in the grid and pixels of each region."""
    ys, xs = (np.arange(n + 1) * side // n for n, side in zip(shape, size, strict=True))
    for row in range(shape[0]):
        for column in range(shape[1]):
            yield (
                (row, column),
                (slice(ys[row], ys[row + 1]), slice(xs[column], xs[column + 1])),
            )


def contrast(levels: NDArray[np.float64]) -> int:
    """Spread of green between 0.2 and 99.8 %, from the shares of its 256 levels."""
    return at_share(levels, 0.998) - at_share(levels, 0.002)


def at_share(levels: NDArray[np.float64], share: float) -> int:
    """The level that a share of the pixels does not exceed, from the shares of 256 levels."""
    return int(np.searchsorted(np.cumsum(levels), share))


def levels_of(green: NDArray[np.uint8], view: Mask | None = None) -> NDArray[np.float64]:
    """Shares of the 256 levels of green ``[H, W]``, where it is in view; ``[256]``."""
    import cv2

    mask = None if view is None else view.astype(np.uint8)
    counts = cv2.calcHist([green], [0], mask, [256], [0, 256]).ravel().astype(np.float64)
    return np.asarray(counts / max(1.0, counts.sum()), np.float64)


def is_heap(levels: NDArray[np.float64], glass: float) -> bool:
    """Whether cells lie upon each other, from the shares of green's 256 levels and bare glass."""
    density = -np.log10(np.maximum(np.arange(256), 4.0) / glass)
    bare = float(levels[density < NO_GLASS].sum())
    return bare < 0.1 and float(levels @ density) > HEAP_DENSITY


def steepness(green: NDArray[np.uint8], sigma_px: float) -> NDArray[np.float32]:
    """Gradient magnitude after a blur."""
    import cv2

    soft = cv2.GaussianBlur(green.astype(np.float32), (0, 0), sigma_px)
    steep = cv2.magnitude(cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1))
    return np.asarray(steep, np.float32)


def edge_blur_um(steep: NDArray[np.float32], softer: NDArray[np.float32]) -> float:
    """Blur that the sharper edges of a region have, as the sigma of a Gaussian in µm.

    Both at 0.5 µm/px: `steepness` after a blur of ``INNER_PX`` and of ``OUTER_PX``.

    The peak gradient of a step blurred by b and then by s is proportional to 1/sqrt(b² + s²),
    so the ratio r of two such peaks gives b² = (s₂² - r² s₁²) / (r² - 1).
    """
    from heme_edge.detect.working_scale import WORKING_UM_PER_PX

    if not steep.size:
        return 0.0
    strong = np.flatnonzero(steep >= max(STRONG * float(steep.max()), 1e-3))
    if not strong.size:
        return 0.0
    ratio = steep.ravel()[strong] / np.maximum(softer.ravel()[strong], np.float32(1e-3))
    quarter = (strong.size - 1) * 3 // 4  # the sharper an edge, the larger its ratio
    square = max(float(np.partition(ratio, quarter)[quarter]) ** 2, 1.0001)
    blur = (OUTER_PX**2 - square * INNER_PX**2) / (square - 1)
    return float(np.sqrt(max(blur, 0.0))) * WORKING_UM_PER_PX


def _shares(mask: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Share of each region that a mask covers."""
    import cv2

    size = (shape[1], shape[0])
    return np.asarray(
        cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA), np.float32
    )


def _nuclear_share(small: Image, view: Mask, regions: Regions) -> float:
    """Nuclear stain where the field can be read, as a share of the field."""
    import cv2

    from heme_edge.detect.stain import stain
    from heme_edge.detect.threshold import nuclear_level

    half, seen = np.ascontiguousarray(small[::2, ::2]), view[::2, ::2]
    if not seen.any():
        return 0.0
    colours = stain(half, seen)
    size = (half.shape[1], half.shape[0])
    verdicts = cv2.resize(regions, size, interpolation=cv2.INTER_NEAREST)
    nuclei = (colours.nuclear > nuclear_level(colours, seen)) & (verdicts == 0)
    return float(np.mean(nuclei[seen]))


def _most(counts: NDArray[np.int64]) -> str:
    """The field's verdict from how many regions have which."""
    rest = counts.copy()
    rest[VERDICTS.index(EMPTY)] = 0
    return READABLE if 2 * rest[0] >= rest.sum() else VERDICTS[1 + int(np.argmax(rest[1:]))]
