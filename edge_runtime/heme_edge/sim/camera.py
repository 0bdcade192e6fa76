"""The simulated camera: a slide seen through a lens, with noise and uneven light."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import Image
from heme_edge.sim.path import Pose
from heme_edge.sim.slide import Smear

NOISE = 2.2
"""Deviation of the sensor's noise, grey levels."""
FALL_OFF = 0.07
"""Light lost from the middle to a corner."""
NOISE_MARGIN_PX = 96
HALVE_ABOVE_PX = 2.5
"""Wider blurs are done at half the size: as good, and four times as fast."""


class SimulatedCamera:
    """Renders the view of a pose; the same frame number gives the same picture.

    Args:
        smear: what is under the lens.
        view: width and height in px.
        um_per_px: scale of the view.
        seed: of the noise.
    """

    def __init__(self, smear: Smear, view: tuple[int, int], um_per_px: float, seed: int) -> None:
        import cv2

        rng = np.random.default_rng([seed, 0xCA3E])
        self._smear, self._view, self._um_per_px, self._seed = smear, view, um_per_px, seed
        size = view[1] + NOISE_MARGIN_PX, view[0] + NOISE_MARGIN_PX, 3
        noise = rng.standard_normal(size, dtype=np.float32)
        noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), 0.6), np.float32)
        noise *= NOISE / noise.std()
        self._noise = np.clip(np.rint(noise + 128), 0, 255).astype(np.uint8)
        self._light = _light(view)

    def render(self, frame: int, pose: Pose) -> Image:
        """RGB uint8 ``[H, W, 3]`` of frame number ``frame`` at ``pose``."""
        import cv2

        rng = np.random.default_rng([self._seed, 0x401E, frame])
        image = self._blurred(self._cut(pose), pose.blur_um / self._um_per_px)
        lit = cv2.multiply(image, self._light, scale=1 / 255)
        x, y = rng.integers(0, NOISE_MARGIN_PX, 2)
        noise = self._noise[y : y + self._view[1], x : x + self._view[0]]
        flicker = 1.0 + 0.004 * float(np.sin(0.37 * frame))
        return np.asarray(cv2.addWeighted(lit, flicker * pose.light, noise, 1.0, -128.0), np.uint8)

    def _cut(self, pose: Pose) -> Image:
        import cv2

        slide_px = 1 / self._smear.um_per_px
        along, across = axes(pose.angle_deg) * self._um_per_px * slide_px
        corners = [(i * along + j * across) for i in (0, self._view[0]) for j in (0, self._view[1])]
        first = np.array([pose.x_um, pose.y_um]) * slide_px
        low, high = first + np.min(corners, 0), first + np.max(corners, 0)
        x, y = (max(0, int(v)) for v in low)
        part = self._smear.image[y : int(high[1]) + 2, x : int(high[0]) + 2]
        inverse = np.column_stack([along, across, first - (x, y)])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(
            cv2.warpAffine(part, inverse, self._view, flags=flags, borderMode=cv2.BORDER_REFLECT),
            np.uint8,
        )

    def _blurred(self, image: Image, sigma_px: float) -> Image:
        import cv2

        if sigma_px < 0.3:
            return image
        if sigma_px <= HALVE_ABOVE_PX:
            return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), np.uint8)
        half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        half = cv2.GaussianBlur(half, (0, 0), sigma_px / 2)
        return np.asarray(cv2.resize(half, self._view, interpolation=cv2.INTER_LINEAR), np.uint8)


def axes(angle_deg: float) -> NDArray[np.float64]:
    """Rows: the direction on the slide of the view's x axis, and of its y axis."""
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return np.array([[cos, sin], [-sin, cos]])


def _light(view: tuple[int, int]) -> Image:
    """The lamp's fall-off towards the corners, slightly off centre, 255 = full."""
    x = np.linspace(-1.05, 0.95, view[0], dtype=np.float32)[None, :]
    y = np.linspace(-0.97, 1.03, view[1], dtype=np.float32)[:, None]
    light = 255 * (1 - FALL_OFF * (x * x + y * y) / 2)
    return np.repeat(np.rint(light).astype(np.uint8)[..., None], 3, axis=2)
