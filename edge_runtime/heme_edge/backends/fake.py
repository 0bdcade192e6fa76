"""A backend without a model, for tests of what is built on backends."""

from __future__ import annotations

import numpy as np

from heme_edge.backends.base import CheckedBackend, Probabilities
from heme_edge.crops import Image


class FakeBackend(CheckedBackend):
    """Names a crop by its mean red value: class ``int(mean) % classes``, probability 0.9.

    Args:
        classes: number of classes.
        max_batch: largest batch it takes at once.
    """

    def __init__(self, classes: int = 3, max_batch: int = 4) -> None:
        super().__init__("fake fp32", "fp32", classes)
        self.max_batch = max_batch
        self.batches: list[int] = []

    def _free(self) -> None:
        pass

    def _run(self, crops: Image) -> tuple[Probabilities, Probabilities]:
        self.batches.append(len(crops))
        rest = 0.1 / (self._classes - 1)
        probabilities = np.full((len(crops), self._classes), rest, np.float32)
        winner = crops[..., 0].mean(axis=(1, 2)).astype(int) % self._classes
        probabilities[np.arange(len(crops)), winner] = 0.9
        return probabilities, np.zeros(len(crops), np.float32)
