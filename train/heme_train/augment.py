"""Augmentation: what differs between laboratories is changed at random, the cell is kept.

The steps that Albumentations has are Albumentations'. Two are ours because they are this
field's: another stain in optical-density space (``heme_train.stain``), and a foreign background
around the cell, so that a network cannot learn a class by its laboratory.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import CROP_PX, Image
from heme_train.sharpness import Sharpness, filtered
from heme_train.stain import Styles, random_stain

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

COMMON_PX = 96
"""Crops are first cut to this, so that the border a rotation leaves is filled alike for all."""


@dataclass(frozen=True)
class Look:
    """A decoded crop and the source it came from."""

    image: Image
    source: str = ""


@dataclass(frozen=True)
class Strength:
    """How strong each step is; all zero is the plain centre crop.

    Attributes:
        stain: half-width of the uniform 3x3 mixing of optical densities.
        contrast: smallest and largest factor on the densities; bench cameras are often pale.
        gain: half-width of the per-channel white-point gain, in optical density.
        lamp: half-width of the density added to all channels alike.
        transfer: share of crops that are first given another source's stain.
        sharpness: share of crops that are first given another sharpness: a source's or any.
        scale: smallest and largest magnification.
        grey: share of crops that lose half of their colour or more.
        background: share of crops whose surroundings are replaced.
        optics: chance of each of blur, lower resolution, sharpening, noise and JPEG.
    """

    stain: float = 0.2
    contrast: tuple[float, float] = (0.65, 1.2)
    gain: float = 0.12
    lamp: float = 0.0
    transfer: float = 0.5
    sharpness: float = 0.0
    scale: tuple[float, float] = (0.75, 1.3)
    grey: float = 0.0
    background: float = 0.5
    optics: float = 0.25


class Augmenter:
    """Turns one decoded crop into a training crop, repeatably for one generator.

    Args:
        strength: how much of each.
        styles: of the sources, for the transfer between them; None does without.
        sharpness: likewise.
    """

    def __init__(
        self, strength: Strength, styles: Styles | None = None, sharpness: Sharpness | None = None
    ) -> None:
        import albumentations as A  # noqa: N812 - its documented alias

        self._strength = strength
        self._styles = styles or Styles({})
        self._sharpness = sharpness or Sharpness({})
        self._geometry: Any = A.Compose(
            [
                A.HorizontalFlip(p=0.5),
                A.Affine(
                    rotate=(-180, 180),
                    scale=strength.scale,
                    keep_ratio=True,
                    shear=(-6, 6),
                    translate_px=(-4, 4),
                    border_mode=4,  # cv2.BORDER_REFLECT_101
                    p=1.0,
                ),
            ]
        )
        p = strength.optics
        self._optics: Any = A.Compose(
            [
                A.OneOf(
                    [
                        A.GaussianBlur(blur_limit=0, sigma_limit=(0.4, 1.4), p=1.0),
                        A.Downscale(
                            scale_range=(0.4, 0.8),
                            interpolation_pair={"downscale": 3, "upscale": 1},  # area, linear
                            p=1.0,
                        ),
                        A.UnsharpMask(
                            blur_limit=(3, 7), sigma_limit=(0.6, 1.5), alpha=(0.3, 1.0), p=1.0
                        ),
                    ],
                    p=min(1.0, 2 * p),
                ),
                A.GaussNoise(std_range=(0.01, 0.04), p=p),
                A.ImageCompression(quality_range=(50, 95), p=p),
            ]
        )

    def __call__(self, cell: Look, around: Look | None, rng: np.random.Generator) -> Image:
        """A training crop ``[96, 96, 3]`` uint8 RGB.

        Args:
            cell: RGB uint8, side 96 px or more, the cell in the centre.
            around: another crop whose surroundings may replace this one's, or None.
            rng: the only source of chance.
        """
        crop = self._stained(cell, rng)
        if around is not None and rng.random() < self._strength.background:
            crop = soft_disc(crop, self._stained(around, rng), rng)
        if rng.random() < self._strength.grey:
            crop = towards_grey(crop, rng)
        self._optics.set_random_seed(int(rng.integers(2**31)))
        result: Image = self._optics(image=crop)["image"]
        return result

    def _stained(self, look: Look, rng: np.random.Generator) -> Image:
        """Turned, scaled, and in another stain."""
        s = self._strength
        own = random_stain(s.stain, s.gain, rng, s.contrast, s.lamp)
        if rng.random() < s.transfer:
            own = own.after(self._styles.transfer(look.source, rng))
        image = centre(look.image, COMMON_PX)
        if s.sharpness and rng.random() < s.sharpness:
            image = filtered(image, self._sharpness.transfer(look.source, rng))
        return own.apply(self._warp(image, rng))

    def _warp(self, image: Image, rng: np.random.Generator) -> Image:
        self._geometry.set_random_seed(int(rng.integers(2**31)))
        warped: Image = self._geometry(image=image)["image"]
        return warped


def centre(image: Image, side: int = CROP_PX) -> Image:
    """The middle ``[side, side, 3]`` of a crop; smaller crops are mirrored outwards."""
    import cv2

    height, width = image.shape[:2]
    if height < side or width < side:
        y, x = max(0, side - height), max(0, side - width)
        image = np.asarray(
            cv2.copyMakeBorder(
                image, y // 2, y - y // 2, x // 2, x - x // 2, cv2.BORDER_REFLECT_101
            ),
            np.uint8,
        )
        height, width = image.shape[:2]
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


_RADIUS: NDArray[np.float32] = np.hypot(
    *np.mgrid[-47.5:48.5, -47.5:48.5].astype(np.float32)  # px from the crop's centre
).astype(np.float32)


def towards_grey(image: Image, rng: np.random.Generator) -> Image:
    """Half or more of the way to a grey of random channel weights."""
    grey = image @ rng.dirichlet((1.0, 1.0, 1.0))
    part = rng.uniform(0.5, 1.0)
    return np.rint(image * (1.0 - part) + part * grey[..., None]).astype(np.uint8)


def soft_disc(inside: Image, outside: Image, rng: np.random.Generator) -> Image:
    """One crop's middle in another's surroundings, with a soft edge of random radius."""
    radius = rng.uniform(26.0, 46.0)
    width = rng.uniform(1.0, 4.0)
    mask = (1.0 / (1.0 + np.exp((_RADIUS - radius) / width)))[..., None]
    mixed = np.rint(inside * mask + outside * (1.0 - mask))
    return np.asarray(mixed, np.uint8)
