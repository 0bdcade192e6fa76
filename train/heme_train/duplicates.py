"""Copies of one picture in a crop set: the same pixels, or the same to the eye.

Two crops are near copies where their perceptual hashes agree in one of the eight positions of a
square, and then their textures do. Found: JPEG, brightness, quarter turns, mirroring, shifts of
2 px, resampling. Not found: free rotation and another stain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from heme_train.data import ROLES, CropSet
from heme_train.survey import Survey, survey

COARSE_SIDE = 8
COARSE, FINE, SAME = 0.85, 0.60, 0.88
"""Smallest correlation of the 8x8 lowest frequencies, of all 16x16, and of the textures.

Chosen on the fold crops of the two sources (14,680 crops, 108 million pairs):
no two different crops pass 0.78 in texture; planted copies (400 crops, ten kinds of change) are
at 0.87, 0.68 and 0.94 at least.
"""
MARGIN = 4
"""Textures are matched with shifts of this many of their pixels, 1.5 px of a crop each."""
MOST = 500
"""Candidates looked at per crop and position, the likeliest first."""

Files = tuple[str, ...]
Pairs = NDArray[np.int64]


@dataclass(frozen=True)
class DuplicateReport:
    """Sets of copies in a crop set.

    Attributes:
        sets: file names of each set, sorted.
        exact: pictures with the very pixels of another, beyond the first of each.
        near: further pictures that are alike to the eye, beyond the first of each set.
        crossing_groups, crossing_roles, different_labels: sets whose members differ in those.
    """

    sets: tuple[Files, ...]
    exact: int
    near: int
    crossing_groups: int
    crossing_roles: int
    different_labels: int

    def sentence(self) -> str:
        """For the user."""
        if not self.sets:
            return "No picture stands in the crop set twice."
        return (
            f"{self.exact} exact and {self.near} near copies in {len(self.sets)} sets; "
            f"{self.crossing_groups} cross groups, {self.crossing_roles} cross roles, "
            f"{self.different_labels} have different labels."
        )


class Sets:
    """Which of N things belong together (union-find)."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, i: int) -> int:
        """The smallest member of the set of ``i``."""
        while self._parent[i] != i:
            self._parent[i] = self._parent[self._parent[i]]
            i = self._parent[i]
        return i

    def join(self, i: int, j: int) -> None:
        """Makes one set of two."""
        low, high = sorted((self.root(i), self.root(j)))
        self._parent[high] = low


def find_duplicates(crops: CropSet) -> list[Files]:
    """Sets of two or more copies, file names sorted; unreadable pictures are left out."""
    return list(duplicate_report(survey(crops)).sets)


def duplicate_report(seen: Survey) -> DuplicateReport:
    """Finds the copies among surveyed pictures, and counts them."""
    sets = Sets(len(seen.crops))
    firsts = _join_exact(seen, sets)
    exact = len(seen.crops) - len(firsts)
    for i, j in near_pairs(seen, firsts, sets):
        sets.join(i, j)
    members: dict[int, list[int]] = {}
    for i in range(len(seen.crops)):
        members.setdefault(sets.root(i), []).append(i)
    rows = [[seen.crops[i] for i in m] for m in members.values() if len(m) > 1]
    return DuplicateReport(
        tuple(sorted(tuple(sorted(c.file for c in set_)) for set_ in rows)),
        exact,
        len(seen.crops) - len(members) - exact,
        sum(len({c.group for c in set_}) > 1 for set_ in rows),
        sum(len({c.role for c in set_}) > 1 for set_ in rows),
        sum(len({c.code for c in set_}) > 1 for set_ in rows),
    )


def _join_exact(seen: Survey, sets: Sets) -> NDArray[np.int64]:
    """Joins pictures of the same pixels; returns the index of the first of each."""
    first: dict[bytes, int] = {}
    for i, pixels in enumerate(seen.pixel_hashes):
        sets.join(first.setdefault(pixels, i), i)
    return np.array(sorted(first.values()), np.int64)


def near_pairs(seen: Survey, among: NDArray[np.int64], sets: Sets) -> Iterator[tuple[int, int]]:
    """Pairs of near copies that are not yet in one set."""
    textures = seen.textures
    among = among[np.array([textures[i].std() > 4 for i in among], bool)]  # not the blank ones
    for i, j, position in _candidates(seen.hashes[among]):
        a, b = int(among[i]), int(among[j])
        if sets.root(a) != sets.root(b) and _agreement(textures[a], textures[b], position) > SAME:
            yield a, b


def _candidates(hashes: NDArray[np.float32]) -> Iterator[tuple[int, int, int]]:
    """``(i, j, position)``, i < j, of hashes ``[N, 16, 16]`` that agree coarsely and finely."""
    if len(hashes) < 2:
        return
    low = hashes[:, :COARSE_SIDE, :COARSE_SIDE]
    coarse = [_unit(_in_position(low, position)) for position in range(8)]
    step = max(1, 8_000_000 // len(hashes))  # 32 MB a block
    for at in range(0, len(hashes), step):
        for position in range(8):
            i, j = _above(coarse[0][at : at + step] @ coarse[position][at:].T)
            i, j = i + at, j + at
            i, j = i[j > i], j[j > i]
            alike = _fine_correlation(hashes, i, j, position) > FINE
            yield from ((int(a), int(b), position) for a, b in zip(i[alike], j[alike], strict=True))


def _fine_correlation(
    hashes: NDArray[np.float32], i: Pairs, j: Pairs, position: int
) -> NDArray[np.float32]:
    """Correlation of hashes i with hashes j in a position, ``[P]``."""
    parts = [np.zeros(0, np.float32)]
    for at in range(0, len(i), 10_000):
        first = _unit(hashes[i[at : at + 10_000]])
        second = _unit(_in_position(hashes[j[at : at + 10_000]], position))
        parts.append((first * second).sum(1))
    return np.concatenate(parts)


def _above(correlation: NDArray[np.float32]) -> tuple[Pairs, Pairs]:
    """Rows and columns above ``COARSE``; of a row only the ``MOST`` highest."""
    many = np.flatnonzero((correlation > COARSE).sum(1) > MOST)
    if len(many):
        rows = correlation[many]
        rows[rows < np.partition(rows, -MOST, axis=1)[:, -MOST:][:, :1]] = 0.0
        correlation[many] = rows
    i, j = np.nonzero(correlation > COARSE)
    return i, j


def _in_position(hashes: NDArray[np.float32], position: int) -> NDArray[np.float32]:
    """The hashes of the pictures as ``_turned`` turns them.

    A transposed picture has a transposed hash; mirroring changes the sign of odd frequencies.
    """
    sign = np.where(np.arange(hashes.shape[1]) % 2, -1.0, 1.0).astype(np.float32)
    hashes = hashes.transpose(0, 2, 1) if position & 4 else hashes
    hashes = hashes * sign[:, None] if position & 2 else hashes
    return hashes * sign if position & 1 else hashes


def _turned(picture: NDArray[np.int8], position: int) -> NDArray[np.int8]:
    picture = picture.T if position & 4 else picture
    picture = picture[::-1] if position & 2 else picture
    return picture[:, ::-1] if position & 1 else picture


def _unit(hashes: NDArray[np.float32]) -> NDArray[np.float32]:
    flat = np.ascontiguousarray(hashes).reshape(len(hashes), -1)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(norm, 1e-6), np.float32)


def _agreement(a: NDArray[np.int8], b: NDArray[np.int8], position: int) -> float:
    """Highest correlation of two textures, the second turned, over small shifts."""
    import cv2

    inner = _turned(b, position)[MARGIN:-MARGIN, MARGIN:-MARGIN]
    image, template = a.astype(np.float32), np.ascontiguousarray(inner, np.float32)
    return float(cv2.matchTemplate(image, template, cv2.TM_CCOEFF_NORMED).max())


def keep_copies_together(crops: CropSet, sets: Iterable[Sequence[str]]) -> tuple[CropSet, int]:
    """Moves every copy to the strictest role that its set stands in (test, confidence, folds).

    Only the copies move, not their groups.

    Returns:
        the crops, and how many were moved.
    """
    role_of = {c.file: c.role for c in crops.crops}
    target = {}
    for files in sets:
        strictest = min((role_of[f] for f in files), key=ROLES.index)
        target.update(dict.fromkeys(files, strictest))
    moved = [replace(c, role=target.get(c.file, c.role)) for c in crops.crops]
    count = sum(a.role != b.role for a, b in zip(crops.crops, moved, strict=True))
    return replace(crops, crops=moved), count
