"""Stain in optical-density space: random mixing, and transfer from one laboratory to another.

Optical density D = -ln((I+1)/256) adds over stains (Beer-Lambert; Ruifrok & Johnston 2001), so
a linear map of D is another stain and a constant is another lamp.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import Image

Matrix = NDArray[np.float64]
_DENSITY: NDArray[np.float32] = -np.log((np.arange(256, dtype=np.float32) + 1.0) / 256.0)
TISSUE_DENSITY = 0.45
"""Sum over the channels above which a pixel is stained."""


@dataclass(frozen=True)
class StainMap:
    """D -> matrix D + offset, over the three densities of RGB."""

    matrix: Matrix
    offset: Matrix

    def after(self, first: StainMap) -> StainMap:
        """The map that does ``first`` and then this one."""
        return StainMap(self.matrix @ first.matrix, self.matrix @ first.offset + self.offset)

    def apply(self, image: Image) -> Image:
        """The image in the other stain, RGB uint8."""
        import cv2

        affine = np.hstack([self.matrix, self.offset[:, None]]).astype(np.float32)
        density = cv2.transform(_DENSITY[image], affine)
        mixed = np.exp(-np.maximum(density, 0.0)) * 256.0 - 1.0
        return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


IDENTITY = StainMap(np.eye(3), np.zeros(3))


def random_stain(
    stain: float,
    gain: float,
    rng: np.random.Generator,
    contrast: tuple[float, float] = (1.0, 1.0),
    lamp: float = 0.0,
) -> StainMap:
    """A random stain and lamp near the given one.

    Args:
        stain: half-width of the uniform entries added to the identity.
        gain: half-width of the uniform density added per channel.
        rng: source of chance.
        contrast: smallest and largest factor on all densities; pale slides are below 1.
        lamp: half-width of the density added to all channels alike.
    """
    matrix = np.eye(3) * rng.uniform(*contrast) + rng.uniform(-stain, stain, (3, 3))
    return StainMap(matrix, rng.uniform(-gain, gain, 3) + rng.uniform(-lamp, lamp))


@dataclass(frozen=True)
class Style:
    """Mean and square root of the covariance of a source's stained densities."""

    mean: Matrix
    root: Matrix


@dataclass(frozen=True)
class Styles:
    """The stains of several sources, by name."""

    styles: Mapping[str, Style]

    def transfer(self, source: str, rng: np.random.Generator) -> StainMap:
        """Part of the way, at random, from a source's stain to that of another one.

        The map that gives the source's stained pixels the other's mean and covariance
        (whitening and colouring); the identity for a source that was not measured.
        """
        others = [name for name in sorted(self.styles) if name != source]
        if source not in self.styles or not others:
            return IDENTITY
        own, other = self.styles[source], self.styles[others[int(rng.integers(len(others)))]]
        whole = other.root @ np.linalg.inv(own.root)
        part = rng.uniform(0.0, 1.1)
        matrix = (1 - part) * np.eye(3) + part * whole
        return StainMap(matrix, part * (other.mean - whole @ own.mean))


def measure_style(images: Iterable[Image]) -> Style:
    """The style of a source from 96x96 crops: stained pixels of the middle 10 µm."""
    densities = []
    for image in images:
        height, width = image.shape[:2]
        top, left = height // 2 - 20, width // 2 - 20
        density = _DENSITY[image[top : top + 40, left : left + 40]].reshape(-1, 3)
        densities.append(density[density.sum(axis=1) > TISSUE_DENSITY])
    pixels = np.concatenate(densities).astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(pixels.T))
    root = vectors @ np.diag(np.sqrt(np.maximum(values, 1e-6))) @ vectors.T
    return Style(pixels.mean(axis=0), root)
