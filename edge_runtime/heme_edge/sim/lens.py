"""How a microscope and its camera picture a field: light, optics, sensor, JPEG."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import Image
from heme_edge.sim.palette import Field

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Lens:
    """One way of picturing. The default is a good bench microscope.

    Attributes:
        white: RGB of the empty slide, 0..255.
        stain: 3 x 3 mixing of the optical densities of R, G, B.
        vignette: light lost from the middle to a corner, 0..1.
        tilt: light lost from one side to the other, 0..1.
        blur_um: sigma of the defocus.
        fringe: how much larger red is pictured than blue, as a share.
        barrel: how much a corner is drawn in, as a share.
        noise: deviation of the sensor's noise, grey levels.
        round_field: whether the round field of an eyepiece is seen whole, with a black surround.
        jpeg: quality; None is uncompressed.
    """

    white: tuple[float, float, float] = (245.0, 232.0, 218.0)
    stain: tuple[tuple[float, float, float], ...] = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    vignette: float = 0.07
    tilt: float = 0.0
    blur_um: float = 0.15
    fringe: float = 0.0
    barrel: float = 0.0
    noise: float = 2.0
    round_field: bool = False
    jpeg: int | None = None


def random_lens(rng: np.random.Generator) -> Lens:
    """Some lens: good ones more often than bad, phones at the eyepiece among them."""
    phone = rng.random() < 0.3
    white = rng.uniform(150, 252) * np.clip(rng.normal(1.0, 0.06, 3), 0.75, 1.0)
    stain = np.eye(3) * rng.uniform(0.65, 1.45) + rng.normal(0, 0.09, (3, 3))
    return Lens(
        white=(float(white[0]), float(white[1]), float(white[2])),
        stain=as_stain(stain),
        vignette=float(rng.uniform(0, 0.45) ** 1.5),
        tilt=float(rng.uniform(-0.15, 0.15)),
        blur_um=float(rng.uniform(0.0, 0.35) if rng.random() < 0.7 else rng.uniform(0.3, 0.8)),
        fringe=float(rng.uniform(0, 0.004)) if phone else 0.0,
        barrel=float(rng.uniform(0, 0.08)) if phone else 0.0,
        noise=float(rng.uniform(0.5, 5)),
        round_field=phone and bool(rng.random() < 0.4),
        jpeg=int(rng.integers(45, 96)) if rng.random() < 0.6 else None,
    )


def as_stain(mixing: NDArray[np.float64]) -> tuple[tuple[float, float, float], ...]:
    """A 3 x 3 matrix as ``Lens.stain`` holds it."""
    return tuple((float(a), float(b), float(c)) for a, b, c in mixing)


def photograph(share: Field, um_per_px: float, lens: Lens, rng: np.random.Generator) -> Image:
    """The picture a lens gives of a field.

    Args:
        share: light that comes through, ``[H, W, 3]`` in 0..1.
        um_per_px: scale.
        lens: how it is pictured.
        rng: draws the noise.

    Returns:
        RGB uint8 ``[H, W, 3]``. Barrel distortion moves places: see ``through``.
    """
    density = -np.log(np.clip(share, 0.004, 1.0)) @ np.array(lens.stain, np.float32).T
    light = np.exp(-np.maximum(density, 0)).astype(np.float32)
    light = _warped(light, lens)
    if lens.blur_um / um_per_px > 0.25:
        light = np.asarray(cv2.GaussianBlur(light, (0, 0), lens.blur_um / um_per_px), np.float32)
    light *= np.array(lens.white, np.float32) * _lamp(share.shape[:2], lens)
    light += rng.standard_normal(light.shape, dtype=np.float32) * np.float32(lens.noise)
    image = np.clip(np.rint(light), 0, 255).astype(np.uint8)
    if lens.round_field:
        image[~_disc(share.shape[:2])] = rng.integers(2, 14)
    return image if lens.jpeg is None else _jpeg(image, lens.jpeg)


def through(points: Points, shape: tuple[int, int], lens: Lens) -> Points:
    """Where places of the field (x, y px, ``[N, 2]``) are in the picture."""
    middle, half = _middle(shape)
    away = points - middle
    seen = away.copy()
    for _ in range(8):
        squared = (seen**2).sum(1, keepdims=True) / half**2
        seen = away / (1 + lens.barrel * squared)
    return np.asarray(seen + middle)


def in_view(points: Points, shape: tuple[int, int], lens: Lens) -> NDArray[np.bool_]:
    """Which places (x, y px of the picture) the picture shows."""
    x, y = points.T
    inside = (x >= -0.5) & (y >= -0.5) & (x < shape[1] - 0.5) & (y < shape[0] - 0.5)
    if lens.round_field:
        rows = np.clip(np.rint(y), 0, shape[0] - 1).astype(int)
        columns = np.clip(np.rint(x), 0, shape[1] - 1).astype(int)
        inside &= _disc(shape)[rows, columns]
    return np.asarray(inside, np.bool_)


def _middle(shape: tuple[int, int]) -> tuple[Points, float]:
    """Middle (x, y) and half diagonal, px."""
    height, width = shape
    return np.array([(width - 1) / 2, (height - 1) / 2]), float(np.hypot(width, height)) / 2


def _warped(light: Field, lens: Lens) -> Field:
    """Barrel distortion, and red pictured larger than blue."""
    if not lens.barrel and not lens.fringe:
        return light
    (x0, y0), half = _middle(light.shape[:2])
    rows, columns = np.mgrid[: light.shape[0], : light.shape[1]].astype(np.float32)
    x, y = columns - np.float32(x0), rows - np.float32(y0)
    bend = 1 + np.float32(lens.barrel / half**2) * (x * x + y * y)
    planes = []
    for channel, size in enumerate((1 - lens.fringe / 2, 1.0, 1 + lens.fringe / 2)):
        factor = bend * np.float32(size)
        map_x, map_y = x * factor + np.float32(x0), y * factor + np.float32(y0)
        plane = np.ascontiguousarray(light[..., channel])
        planes.append(
            cv2.remap(plane, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        )
    return np.dstack(planes).astype(np.float32)


def _lamp(shape: tuple[int, int], lens: Lens) -> Field:
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    light = 1 - np.float32(lens.vignette) * (x * x + y * y) / 2 - np.float32(lens.tilt) * x / 2
    return np.asarray(light[..., None], np.float32)


def _disc(shape: tuple[int, int]) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    away = np.hypot(columns - (shape[1] - 1) / 2, rows - (shape[0] - 1) / 2)
    return np.asarray(away < 0.49 * min(shape), np.bool_)


def _jpeg(image: Image, quality: int) -> Image:
    data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(
        np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1], np.uint8
    )
