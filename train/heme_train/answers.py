"""What a classifier said of labelled crops, whoever asked it: the input of every figure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Answers:
    """Probabilities and truth of the same crops.

    Attributes:
        codes: class codes, the columns.
        probabilities: ``[N, C]``, as given (rows of a foreign table may not sum to 1).
        truth: true code of each row; may be a class that is no column.
        groups: slide or patient of each row; the image itself where none is known.
        grouped: whether any group is known.
        title: what was measured, for the head of the report.
        about: facts that go into metrics.json as they are, such as precision and digest.
        members: ``[M, N, C]`` of an ensemble's networks, or None.
        member_names: of the networks.
        notes: sentences the reader needs to judge the figures.
        warnings: sentences that stand in bold above everything else.
    """

    codes: tuple[str, ...]
    probabilities: NDArray[np.float64]
    truth: tuple[str, ...]
    groups: tuple[str, ...]
    grouped: bool
    title: str
    about: dict[str, Any] = field(default_factory=dict)
    members: NDArray[np.float64] | None = None
    member_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
