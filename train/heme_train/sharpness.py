"""Sharpness of a laboratory's pictures, and its transfer from one to another.

Two cameras of one subject differ by a filter: lens, sensor and the maker's sharpening. Its gain
at each spatial frequency is the ratio of the sources' mean amplitude spectra over the classes
they share, so a crop of one can be shown as sharp as the other would have made it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import Image

Array = NDArray[np.float64]
WINDOW_PX = 64
KERNEL_PX = 15
RINGS = WINDOW_PX // 2 + 1
GAIN = (0.1, 6.0)
"""Smallest and largest gain of a transfer at any frequency."""
TILT = (-2.0, 1.4)
"""ln of the smallest and largest gain of a random sharpness at the highest frequency."""

_frequency = np.fft.fftfreq(WINDOW_PX, 1.0 / WINDOW_PX)
_RADIUS: Array = np.minimum(np.hypot(*np.meshgrid(_frequency, _frequency)), RINGS - 1.0)
_HANN: Array = np.outer(np.hanning(WINDOW_PX), np.hanning(WINDOW_PX))


def measure_spectrum(images: Iterable[Image]) -> Array:
    """Mean amplitude of the grey middle 16 µm per spatial frequency ``[RINGS]`` (cycles/16 µm)."""
    total, count = np.zeros((WINDOW_PX, WINDOW_PX)), 0
    for image in images:
        height, width = image.shape[:2]
        top, left = (height - WINDOW_PX) // 2, (width - WINDOW_PX) // 2
        grey = image[top : top + WINDOW_PX, left : left + WINDOW_PX].mean(axis=2)
        contrast = (grey - grey.mean()) / max(float(grey.std()), 1.0)
        total += np.abs(np.fft.fft2(contrast * _HANN))
        count += 1
    ring = np.rint(_RADIUS).astype(np.int64)
    summed = np.bincount(ring.ravel(), (total / count).ravel(), RINGS)
    return np.asarray(summed / np.bincount(ring.ravel(), minlength=RINGS))


def kernel_of(gain: Array) -> NDArray[np.float32]:
    """The ``[KERNEL_PX, KERNEL_PX]`` filter with the given gain per ring, summing to 1."""
    response = np.interp(_RADIUS, np.arange(RINGS), gain)
    whole = np.fft.fftshift(np.fft.ifft2(response).real)
    at, half = WINDOW_PX // 2, KERNEL_PX // 2
    kernel = whole[at - half : at + half + 1, at - half : at + half + 1]
    kernel = kernel * np.outer(np.hanning(KERNEL_PX + 2)[1:-1], np.hanning(KERNEL_PX + 2)[1:-1])
    return np.asarray(kernel / kernel.sum(), np.float32)


@dataclass(frozen=True)
class Sharpness:
    """The mean spectra of several sources, by name."""

    spectra: Mapping[str, Array]

    def transfer(self, source: str, rng: np.random.Generator) -> NDArray[np.float32]:
        """A filter part of the way, at random, from a source's sharpness to another's.

        Half of the time, and always for a source that was not measured, any sharpness: a gain
        that rises or falls evenly with frequency, in ln.
        """
        others = [name for name in sorted(self.spectra) if name != source]
        if source not in self.spectra or not others or rng.random() < 0.5:
            return kernel_of(np.exp(rng.uniform(*TILT) * np.linspace(0.0, 1.0, RINGS)))
        other = self.spectra[others[int(rng.integers(len(others)))]]
        gain = np.clip(other / self.spectra[source], *GAIN)
        gain[:2] = 1.0
        return kernel_of(gain ** rng.uniform(-0.2, 1.2))


def filtered(image: Image, kernel: NDArray[np.float32]) -> Image:
    """The image through a filter, mirrored at its border."""
    import cv2

    return np.asarray(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101), np.uint8)
