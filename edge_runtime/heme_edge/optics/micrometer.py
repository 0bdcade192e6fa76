"""Spacing of the lines of a stage micrometer, at any angle.

The direction of the lines is that of most edges. The picture is turned until they stand upright and
summed along them; the lines are then peaks, and a straight line through their places against their
numbers gives the spacing with the error of one line spread over all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import Image
from heme_edge.detect.field_of_view import field_of_view
from heme_edge.detect.working_scale import shrunk
from heme_edge.errors import OpticsError

Plane = NDArray[np.float32]
Profile = NDArray[np.float64]

LOOK_PX = 2048
"""The longer side at most, of the picture that is measured."""
LEAST_PERIOD_PX = 4.0
LEAST_LINES = 5
COHERENT = 0.2
"""Least length of the mean doubled edge direction: 1 for parallel lines, 0 for round cells."""
TRIED_DEG = 3.0, 0.1
"""How far around the direction of the edges, and in which steps, lines are stood upright."""
LINE_HEIGHTS = (0.1, 0.3)
"""A peak is a line from this share of the height of the higher lines on, tried in turn: with the
lower one first, faint lines between long ones are not passed over."""
SMOOTH_PX = (0.8, 2.5, 7.0)
"""Smoothing of the profile, tried in turn: broad lines have several peaks each without it."""
UNEVEN = 0.1
"""How far lines may lie from their even places, as a share of the period (root mean square)."""
THERE = 0.8
"""Share of the places between the first line and the last that have one."""


@dataclass(frozen=True)
class Spacing:
    """Distance of neighbouring lines.

    Attributes:
        period_px: px of the image from one line to the next, across the lines.
        error_px: standard error of it.
        divisions: intervals between the first and the last line measured.
    """

    period_px: float
    error_px: float
    divisions: int


def measured_spacing(image: Image) -> Spacing:
    """Spacing of the lines in the picture.

    Args:
        image: RGB uint8 ``[H, W, 3]``.

    Raises:
        OpticsError: no evenly spaced parallel lines.
    """
    relief, shrunk = _relief(image)
    profile = _upright(relief, _direction_deg(relief))
    for smooth_px, height in product(SMOOTH_PX, LINE_HEIGHTS):
        fit = _fitted(_lines(profile, smooth_px, height))
        if fit is not None:
            return Spacing(fit.period_px / shrunk, fit.error_px / shrunk, fit.divisions)
    raise _no_lines()


def _relief(image: Image) -> tuple[Plane, float]:
    """Grey picture without slow changes of light, at ``LOOK_PX`` at most, and its scale."""
    small = shrunk(image, LOOK_PX)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    field = field_of_view(small)
    inner = cv2.erode(field.astype(np.uint8), np.ones((9, 9), np.uint8), borderValue=1) > 0
    weight = np.asarray(cv2.GaussianBlur(field.astype(np.float32), (0, 0), 40), np.float32)
    around = cv2.GaussianBlur(np.where(field, grey, 0).astype(np.float32), (0, 0), 40)
    flat = grey / np.maximum(around / np.maximum(weight, 1e-3), 1.0) - 1
    return np.where(inner, flat, 0).astype(np.float32), small.shape[1] / image.shape[1]


def _direction_deg(relief: Plane) -> float:
    """Direction across the lines, degrees from the x axis.

    Raises:
        OpticsError: edges in all directions alike.
    """
    smooth = cv2.GaussianBlur(relief, (0, 0), 1.0)
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, *way) for way in ((1, 0), (0, 1)))
    cosine, sine = float((across**2 - down**2).sum()), float((2 * across * down).sum())
    if np.hypot(cosine, sine) <= COHERENT * float((across**2 + down**2).sum()):
        raise _no_lines()
    return float(np.degrees(np.arctan2(sine, cosine)) / 2)


def _upright(relief: Plane, direction_deg: float) -> Profile:
    """Sums along the lines, where they are sharpest near the direction of the edges."""
    reach, step = TRIED_DEG
    coarse = np.arange(-reach, reach + step, 5 * step)
    best = max(coarse, key=lambda turn: _sharp(_profile(relief, direction_deg + turn)))
    fine = best + step * np.arange(-4, 5)
    best = max(fine, key=lambda turn: _sharp(_profile(relief, direction_deg + turn)))
    return _profile(relief, direction_deg + best)


def _sharp(profile: Profile) -> float:
    return float(np.square(np.diff(profile)).sum())


def _profile(relief: Plane, direction_deg: float) -> Profile:
    """Mean of each column once the picture is turned by the direction, nothing cut off."""
    height, width = relief.shape
    side = int(np.ceil(np.hypot(height, width)))
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), direction_deg, 1.0)
    turn[0, 2] += (side - width) / 2
    turn[1, 2] += (side - height) / 2
    turned = cv2.warpAffine(relief, turn, (side, side), flags=cv2.INTER_LINEAR)
    return np.asarray(turned.mean(axis=0), np.float64)


def _lines(profile: Profile, smooth_px: float, height: float) -> Profile:
    """Places of the lines to a part of a px: peaks of a profile, be they dark or bright."""
    row = profile.astype(np.float32)[None]
    smooth = cv2.GaussianBlur(row, (0, 0), smooth_px)[0].astype(np.float64)
    if abs(smooth.min()) > smooth.max():
        smooth = -smooth
    left, middle, right = smooth[:-2], smooth[1:-1], smooth[2:]
    peak = 1 + np.nonzero((middle >= left) & (middle > right) & (middle > 0))[0]
    if peak.size < LEAST_LINES:
        return np.zeros(0)
    highest = np.sort(smooth[peak])[-LEAST_LINES]
    peak = peak[smooth[peak] > height * highest]
    bend = smooth[peak - 1] - 2 * smooth[peak] + smooth[peak + 1]
    return np.asarray(peak + (smooth[peak - 1] - smooth[peak + 1]) / (2 * bend), np.float64)


def _fitted(places: Profile) -> Spacing | None:
    """Least squares of the places against their numbers; None where they are not even."""
    if places.size < LEAST_LINES:
        return None
    period = float(np.median(np.diff(places)))
    number = np.concatenate([[0], np.cumsum(np.rint(np.diff(places) / period))])
    divisions = int(number[-1])
    if period < LEAST_PERIOD_PX or np.unique(number).size < THERE * (divisions + 1):
        return None
    period, start = (float(value) for value in np.polyfit(number, places, 1))
    away = places - (start + period * number)
    if float(np.sqrt(np.mean(away**2))) > UNEVEN * period:
        return None
    spread = float(np.sqrt(np.square(number - number.mean()).sum()))
    return Spacing(period, float(np.std(away, ddof=2)) / spread, divisions)


def _no_lines() -> OpticsError:
    return OpticsError(
        "There are no evenly spaced lines in the picture.",
        "Photograph the stage micrometer in focus, at least five of its lines across the picture.",
    )
