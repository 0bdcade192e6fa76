"""Which errors stay among biological neighbours, and which pairs are mistaken most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heme_edge.cells import cell_class, is_known


def are_neighbours(one: str, other: str) -> bool:
    """Whether either class names the other as its neighbour (``CellClass.neighbours``)."""
    if not (is_known(one) and is_known(other)):
        return False
    a, b = cell_class(one), cell_class(other)
    return b.code in a.neighbours or a.code in b.neighbours


def neighbour_table(codes: Sequence[str]) -> NDArray[np.bool_]:
    """``[C, C]``: which pairs are neighbours; symmetric, False on the diagonal."""
    return np.array([[are_neighbours(a, b) for b in codes] for a in codes], np.bool_)


def neighbour_errors(matrix: NDArray[np.int64], codes: Sequence[str]) -> dict[str, Any]:
    """How many errors there are, and how many of them name a neighbour.

    Returns:
        ``{"errors", "within_neighbours", "share"}``; share is None where there is no error.
    """
    errors = int(matrix.sum() - np.trace(matrix))
    within = int(matrix[neighbour_table(codes)].sum())
    return {
        "errors": errors,
        "within_neighbours": within,
        "share": within / errors if errors else None,
    }


def confused_pairs(
    matrix: NDArray[np.int64], codes: Sequence[str], most: int = 10
) -> list[dict[str, Any]]:
    """The commonest errors, most first; equal ones in the order of the matrix.

    Returns:
        rows ``{"true", "named", "n", "share", "neighbours"}``; share is of the true class.
    """
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    rows = []
    for t, n in zip(*np.unravel_index(order, matrix.shape), strict=True):
        if wrong[t, n]:
            rows.append(
                {
                    "true": codes[t],
                    "named": codes[n],
                    "n": int(wrong[t, n]),
                    "share": float(wrong[t, n] / matrix[t].sum()),
                    "neighbours": are_neighbours(codes[t], codes[n]),
                }
            )
    return rows
