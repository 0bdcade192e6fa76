"""Opening a whole slide: its size, levels and scale, and a part of a level as RGB."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from heme_edge.crops import Image
from heme_edge.errors import MissingExtraError, SourceError

SLIDE_SUFFIXES = frozenset({".svs", ".ndpi", ".scn", ".mrxs"})
TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
"""Photos or slides: a file of several resolutions is a slide."""
OPENSLIDE_ONLY = frozenset({".mrxs"})
"""These are not TIFF files and tiffslide cannot read them."""
SQUARE = 0.02
"""Pixels whose sides differ by more than this share are not square."""
T = TypeVar("T")


class _NotReadableError(SourceError):
    """A library cannot read the file; another one may."""


class _Handle(Protocol):
    """What tiffslide and OpenSlide have in common."""

    @property
    def dimensions(self) -> tuple[int, int]: ...
    @property
    def level_dimensions(self) -> tuple[tuple[int, int], ...]: ...
    @property
    def level_downsamples(self) -> tuple[float, ...]: ...
    @property
    def properties(self) -> Any: ...

    def read_region(self, location: tuple[int, int], level: int, size: tuple[int, int]) -> Any: ...

    def close(self) -> None: ...


def is_slide(path: Path) -> bool:
    """Whether a file is read as a whole slide; a TIFF file only with tiffslide installed."""
    suffix = path.suffix.lower()
    return suffix in SLIDE_SUFFIXES or (suffix in TIFF_SUFFIXES and _has_levels(path))


def _has_levels(path: Path) -> bool:
    try:
        from tifffile import TiffFile
    except ImportError:
        return False
    _quiet()
    with suppress(Exception), TiffFile(path) as file:  # what is no slide is left to the photos
        return bool(file.series and file.series[0].is_pyramidal)
    return False


class Pyramid:
    """One open slide. Belongs to one thread, but for ``close``.

    Attributes:
        size: width and height in px of the finest level.
        level_sizes: width and height in px of each level, finest first.
        downsamples: px of the finest level per px of each level.
        um_per_px: scale of the finest level, None where the file does not tell.
    """

    def __init__(self, path: Path, handle: _Handle, vendor: str) -> None:
        self._path, self._handle = path, handle
        self.size = handle.dimensions
        self.level_sizes = tuple(handle.level_dimensions)
        self.downsamples = tuple(float(d) for d in handle.level_downsamples)
        self.um_per_px = self._scale(handle.properties, vendor)

    def level_for(self, downsample: float) -> int:
        """The coarsest level that is still at least as fine as that."""
        fine = [level for level, d in enumerate(self.downsamples) if d <= downsample * 1.01]
        return fine[-1] if fine else 0

    def read(self, x: int, y: int, level: int, size: tuple[int, int]) -> Image:
        """A part of a level as RGB uint8 ``[H, W, 3]``.

        Args:
            x, y: its first pixel, px of the finest level.
            level: which level.
            size: width and height, px of that level.

        Raises:
            SourceError: the file is damaged there.
        """
        region = _guarded(self._path, lambda: self._handle.read_region((x, y), level, size))
        return _over_white(np.asarray(region))

    def close(self) -> None:
        """Closes the file."""
        self._handle.close()

    def _scale(self, properties: Any, vendor: str) -> float | None:
        try:
            x, y = (float(properties[f"{vendor}.mpp-{axis}"]) for axis in "xy")
        except (KeyError, TypeError, ValueError):
            return None
        if not (math.isfinite(x) and math.isfinite(y) and x > 0 and y > 0):
            return None
        if abs(x / y - 1) > SQUARE:
            raise SourceError(f"{self._path} has pixels that are not square ({x:g} x {y:g} µm).")
        return math.sqrt(x * y)


def _over_white(region: Any) -> Image:
    """RGB of what a slide library gives; places that were never scanned are white."""
    if region.ndim == 2:
        region = region[..., None]
    if region.shape[2] == 4:
        colour, alpha = region[..., :3].astype(np.uint16), region[..., 3:].astype(np.uint16)
        region = ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    if region.shape[2] == 1:
        region = np.repeat(region, 3, axis=2)
    return np.ascontiguousarray(region[..., :3], np.uint8)


def check_installed() -> None:
    """Nothing, where a package that reads slides is installed.

    Raises:
        MissingExtraError: it is not.
    """
    if not any(find_spec(package) for package in ("tiffslide", "openslide")):
        raise MissingExtraError("'tiffslide'", "wsi")


def open_pyramid(path: Path) -> Pyramid:
    """Opens a slide with tiffslide, or where that cannot, with OpenSlide if it is installed.

    Raises:
        SourceError: it is no slide, or is damaged.
        MissingExtraError: neither package is installed.
    """
    if not path.is_file():
        raise SourceError(f"There is no slide called '{path}'.")
    try:
        if path.suffix.lower() in OPENSLIDE_ONLY:
            raise _NotReadableError(f"{path} is read by OpenSlide only.")
        return _with_tiffslide(path)
    except (_NotReadableError, MissingExtraError):
        found = _with_openslide(path)
        if found is None:
            raise
        return found


def _with_tiffslide(path: Path) -> Pyramid:
    try:
        from tiffslide import TiffSlide
    except ImportError as error:
        raise MissingExtraError("'tiffslide'", "wsi") from error
    _quiet()
    slide = _guarded(path, lambda: TiffSlide(path))
    try:
        _guarded(path, lambda: _check_whole(path, slide))
        return _guarded(path, lambda: Pyramid(path, slide, "tiffslide"))
    except SourceError:
        slide.close()
        raise


def _check_whole(path: Path, slide: Any) -> None:
    """Refuses a file that ends before its tiles do; decoders may fill what is missing."""
    length = path.stat().st_size
    for level in slide.ts_tifffile.series[0].levels:
        page = level.pages[0]
        ends = (a + n for a, n in zip(page.dataoffsets, page.databytecounts, strict=True))
        if max(ends, default=0) > length:
            raise SourceError(f"{path} is cut short.", "Copy it again from the scanner.")


def _with_openslide(path: Path) -> Pyramid | None:
    """The slide by OpenSlide, or None where that is not installed.

    Raises:
        SourceError: OpenSlide cannot read it either, or it is needed and not installed.
    """
    try:
        import openslide
    except (ImportError, OSError) as error:
        if path.suffix.lower() in OPENSLIDE_ONLY:
            raise SourceError(
                f"{path} needs OpenSlide, which is not installed.",
                "pip install openslide-python openslide-bin",
            ) from error
        return None
    return _guarded(path, lambda: Pyramid(path, openslide.OpenSlide(path), "openslide"))


def _guarded(path: Path, step: Callable[[], T]) -> T:
    """The step, with whatever a decoder may raise on a damaged file as one sentence."""
    try:
        return step()
    except SourceError:
        raise
    except Exception as error:
        raise _NotReadableError(
            f"{path} is no whole slide that can be read, or is damaged.",
            "Slides are .svs, .ndpi, .scn, .mrxs and pyramidal .tif files.",
        ) from error


def _quiet() -> None:
    """Keeps tifffile's log of damaged files off the terminal; the sentence tells it."""
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
