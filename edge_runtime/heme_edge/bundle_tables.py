"""Checks of the open tables in a bundle's manifest."""

from __future__ import annotations

from typing import Any

import numpy as np


def is_optics_table(table: dict[str, Any]) -> bool:
    """Whether the training data's background and stain are there, every number finite."""
    lists = [(table["white_rgb"], 3)]
    for source in table["stain"].values():
        lists += [(source["white_rgb"], 3), (source["mean"], 6), (source["sd"], 6)]
    arrays = [(np.asarray(values, np.float64), count) for values, count in lists]
    fit = all(a.shape == (count,) and bool(np.isfinite(a).all()) for a, count in arrays)
    positive = all(min(source["sd"]) > 0 for source in table["stain"].values())
    return fit and positive and bool(table["stain"]) and min(table["white_rgb"]) >= 1
