"""Whole slides for tests: a drawn smear as an Aperio-style pyramid of tiles."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import tifffile

from heme_edge.crops import Image

APERIO = "Aperio Image Library v11\r\n{w}x{h} [0,0 {w}x{h}] (256x256)|AppMag = 40{mpp}"
UM = 0.25
"""Scale of the slides drawn here."""
GLASS = (243, 238, 242)


def write_slide(
    path: Path, image: Image, *, mpp: float | None = 0.25, levels: int = 2, **options: object
) -> Path:
    """A tiled TIFF whose levels are each a quarter of the one before; by default as JPEG."""
    how = {"tile": (256, 256), "photometric": "rgb", "compression": "jpeg"} | options
    how.setdefault("compressionargs", {"level": 92})
    scale = "" if mpp is None else f"|MPP = {mpp}"
    text = APERIO.format(w=image.shape[1], h=image.shape[0], mpp=scale)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path) as file:
        for level in range(levels):
            size = image.shape[1] // 4**level, image.shape[0] // 4**level
            small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            file.write(small, description=text, metadata=None, **how)
            if level == 0:  # an Aperio file has its thumbnail, in strips, as the second page
                thumbnail = np.ascontiguousarray(small[:256:4, :256:4])
                file.write(thumbnail, description=text, metadata=None, photometric="rgb")
    return path


def on_glass(image: Image, width: int, height: int, x: int, y: int) -> Image:
    """A picture laid on a larger empty slide."""
    slide = np.empty((height, width, 3), np.uint8)
    slide[:] = GLASS
    slide[y : y + image.shape[0], x : x + image.shape[1]] = image
    return slide


def rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
