"""How near each precision must be to the network that was trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heme_calibration.choose import Difference, Probabilities, difference

FEW_TEST_CROPS = 500
"""With fewer a certificate says of itself that it is small."""


@dataclass(frozen=True)
class Tolerance:
    """What a file must keep to.

    Attributes:
        agreement: smallest share of crops with the same most probable class.
        largest: largest |Δp| of any crop and class, or None where only labels count.
        lost: what a class may lose of its recall, as a share and as crops, whichever is more; or
            None.
    """

    agreement: float
    largest: float | None = None
    lost: tuple[float, int] | None = None


TOLERANCES = {
    "fp32": Tolerance(0.0, 1e-4),
    "fp16": Tolerance(0.999, 5e-3),
    "int8": Tolerance(0.99, None, (0.01, 2)),
}
"""Of the certificate, on role ``test``, by precision."""
GOALS = {"fp16": Tolerance(0.9993, 2.5e-3), "int8": Tolerance(0.995, None, (0.005, 1))}
"""What layers are chosen for on role ``confidence``: twice as near, as ``test`` is other crops."""


@dataclass(frozen=True)
class Compared:
    """What one file says against what was expected, on the same labelled crops.

    Attributes:
        difference: of the probabilities.
        lost: by class code, how many crops fewer are named rightly (negative: more), and of how
            many.
    """

    difference: Difference
    lost: dict[str, tuple[int, int]]


def compare(
    probabilities: Probabilities, expected: Probabilities, truth: Sequence[str],
    codes: Sequence[str],
) -> Compared:  # fmt: skip
    """Compares ``[N, C]`` probabilities; ``truth`` holds N codes."""
    labels = np.array([codes.index(code) for code in truth])
    got, wanted = probabilities.argmax(1) == labels, expected.argmax(1) == labels
    return Compared(
        difference(probabilities, expected),
        {code: _lost(labels == i, got, wanted) for i, code in enumerate(codes) if i in labels},
    )


def _lost(
    rows: NDArray[np.bool_], got: NDArray[np.bool_], wanted: NDArray[np.bool_]
) -> tuple[int, int]:
    return int(wanted[rows].sum()) - int(got[rows].sum()), int(rows.sum())


def losses(compared: Compared, tolerance: Tolerance) -> list[str]:
    """One clause for each way in which a file is not near enough; none where it is."""
    d, found = compared.difference, []
    if d.agreement < tolerance.agreement:
        found.append(
            f"{d.agreement:.2%} of the labels are the same ({tolerance.agreement:.2%} wanted)"
        )
    if tolerance.largest is not None and not d.largest <= tolerance.largest:
        found.append(f"a probability differs by {d.largest:.1e} ({tolerance.largest:.0e} allowed)")
    for code, (lost, count) in compared.lost.items():
        if tolerance.lost and lost > max(tolerance.lost[0] * count, tolerance.lost[1]):
            found.append(f"class {code} loses {lost} of {count} crops")
    return found
