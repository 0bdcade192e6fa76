"""A drawn crop set in DeepHeme's layout: a folder per code, a folder per slide in it, 96x96 PNG."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np

from heme_edge.cells import DEEPHEME_CODES
from heme_edge.crops import CROP_PX, Image
from tests.conftest import save

ROLES = ("fold0", "fold1", "fold2", "fold3", "fold4", "confidence", "test")
SITES = ("north", "south")


def draw_class(number: int, rng: np.random.Generator) -> Image:
    """A cell whose size, hue and number of lobes tell which of 23 classes it is."""
    image = rng.integers(224, 240, (CROP_PX, CROP_PX, 3)).astype(np.uint8)
    hue, radius, lobes = 120 + 5 * (number % 6), 14 + 5 * (number // 6), 1 + number % 4
    shade = np.uint8([[[hue, 150 + int(rng.integers(-12, 13)), 130]]])  # type: ignore[arg-type]  # NumPy types it as a scalar
    dark = tuple(int(c) for c in cv2.cvtColor(shade, cv2.COLOR_HSV2RGB)[0, 0])
    x, y = CROP_PX // 2 + rng.integers(-3, 4, 2)
    cv2.circle(image, (int(x), int(y)), radius + 8, (205, 190, 225), -1, cv2.LINE_AA)
    turn = rng.uniform(0, 2 * np.pi)
    for lobe in range(lobes):
        angle = turn + 2 * np.pi * lobe / lobes
        away = 0.0 if lobes == 1 else radius * 0.6
        at = (round(x + away * np.cos(angle)), round(y + away * np.sin(angle)))
        cv2.circle(image, at, max(4, round(radius / lobes**0.5)), dark, -1, cv2.LINE_AA)
    grain = cv2.GaussianBlur(rng.normal(0, 80, image.shape[:2]), (0, 0), 2.0)[..., None]
    return np.clip(image + grain, 0, 255).astype(np.uint8)  # no two cells are copies


def draw_deepheme_set(folder: Path, slides: int = 7, per_slide: int = 1, seed: int = 0) -> Path:
    """Writes ``M1/slide03/cell001.png`` and so on for all 23 codes, and a manifest of them.

    Slide ``i`` has the role ``ROLES[i % 7]`` and the source ``SITES[i // 7 % 2]``: seven slides are
    of one site, fourteen of two. Slides of the second site are tinted.

    Returns:
        the folder, which holds ``crops-manifest.csv`` too.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for number, code in enumerate(DEEPHEME_CODES):
        for slide in range(slides):
            site = SITES[slide // len(ROLES) % 2]
            for cell in range(per_slide):
                image = draw_class(number, rng)
                if site == "south":
                    image = (image * np.array([0.9, 0.97, 0.8])).astype(np.uint8)
                file = f"{code}/slide{slide:02}/cell{cell:03}.png"
                save(folder / file, image)
                rows.append([file, code, f"slide{slide:02}", site, ROLES[slide % len(ROLES)]])
    with (folder / "crops-manifest.csv").open("w", newline="") as table:
        csv.writer(table).writerows([["file", "code", "group", "source", "role"], *rows])
    return folder
