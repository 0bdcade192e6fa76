"""The backend protocol, and the checks every backend makes alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import CROP_PX, Image
from heme_edge.errors import BackendError

Probabilities = NDArray[np.float32]


class Backend(Protocol):
    """Runs a bundle's model. One instance belongs to one thread unless it says otherwise."""

    @property
    def name(self) -> str:
        """Backend and precision, for example ``onnxruntime int8``."""
        ...

    @property
    def precision(self) -> str:
        """``fp32``, ``fp16`` or ``int8``."""
        ...

    def infer(self, crops: Image) -> tuple[Probabilities, Probabilities]:
        """Names crops.

        Args:
            crops: uint8 ``[N, 96, 96, 3]`` RGB; any N, 0 included.

        Returns:
            probabilities float32 ``[N, C]`` and disagreement float32 ``[N]`` in nats.

        Raises:
            BackendError: wrong type or shape, or the backend is closed.
        """
        ...

    def close(self) -> None:
        """Frees the model; may be called twice."""
        ...


class CheckedBackend(ABC):
    """Checks inputs and splits what is larger than ``max_batch``; subclasses run one batch."""

    max_batch: int = 64

    def __init__(self, name: str, precision: str, classes: int) -> None:
        self._name = name
        self._precision = precision
        self._classes = classes
        self._closed = False

    @property
    def name(self) -> str:
        """See ``Backend.name``."""
        return self._name

    @property
    def precision(self) -> str:
        """See ``Backend.precision``."""
        return self._precision

    def infer(self, crops: Image) -> tuple[Probabilities, Probabilities]:
        """See ``Backend.infer``."""
        self._check(crops)
        step = self._batch_size(len(crops))
        starts = range(0, len(crops), step)
        parts = self._run_all([np.ascontiguousarray(crops[at : at + step]) for at in starts])
        if not parts:
            return np.zeros((0, self._classes), np.float32), np.zeros(0, np.float32)
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([p for p, _ in parts]), np.concatenate([d for _, d in parts])

    def close(self) -> None:
        """See ``Backend.close``."""
        if not self._closed:
            self._closed = True
            self._free()

    def _batch_size(self, count: int) -> int:
        """Into batches of what size ``count`` crops are split."""
        return self.max_batch

    def _run_all(self, batches: list[Image]) -> list[tuple[Probabilities, Probabilities]]:
        """All batches, in order."""
        return [self._run(batch) for batch in batches]

    def _check(self, crops: Image) -> None:
        if self._closed:
            raise BackendError(f"The backend {self._name} is closed.")
        if not isinstance(crops, np.ndarray) or crops.dtype != np.uint8:
            kind = getattr(crops, "dtype", type(crops).__name__)
            raise BackendError(f"Crops must be uint8, not {kind}.")
        if crops.ndim != 4 or crops.shape[1:] != (CROP_PX, CROP_PX, 3):
            raise BackendError(f"Crops must be [N, 96, 96, 3], not {list(crops.shape)}.")

    @abstractmethod
    def _run(self, crops: Image) -> tuple[Probabilities, Probabilities]:
        """One contiguous batch of 1 to ``max_batch`` crops."""

    @abstractmethod
    def _free(self) -> None:
        """Releases what the backend holds."""
