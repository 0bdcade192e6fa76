"""How sure a detector must be of a find: the least scores of cells and of platelet clumps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heme_edge.detect.learned import KINDS, DetectorSpec, LearnedDetector
from heme_edge.sim.compose import Composed
from heme_edge.sim.scoring import Score, pairs, score

LOOKS_FOR = ("nucleated cells", "mitotic figures", "megakaryocytes and other large cells",
             "platelet clumps")  # fmt: skip
"""Red cells and single platelets are not looked for."""
SAME_F1 = 0.001
"""Least scores whose mean F1 differ by less are as good; the lowest is taken: what is found too
much may still be called an artifact, and what is missed is lost."""
SCORES = tuple(np.round(np.arange(0.15, 0.56, 0.05), 2))
CLUMP_SCORES = tuple(np.round(np.arange(0.25, 0.71, 0.05), 2))
CLUMP_WITHIN_UM = 6.0
"""A find is of a clump when its centre is this near."""


@dataclass(frozen=True)
class Judged:
    """How well cells are found with a least score.

    Attributes:
        least: the score.
        scores: by name of a group of fields.
    """

    least: float
    scores: dict[str, Score]

    @property
    def f1(self) -> float:
        """Mean over the groups."""
        return float(np.mean([one.f1 for one in self.scores.values()]))

    def words(self) -> str:
        """For people."""
        return "; ".join(
            f"{name}: recall {one.recall:.4f}, precision {one.precision:.4f}"
            for name, one in self.scores.items()
        )


Groups = dict[str, list[Composed]]
"""Fields that judge, by what they are."""


def judged(model: Path, groups: Groups, scores: Sequence[float] = SCORES) -> Judged:
    """The least score with which a file finds cells best, and how well that is.

    Best is the mean F1 of the groups, so that many dense fields do not outvote a sparse camera.
    """
    detector = LearnedDetector(model, DetectorSpec(LOOKS_FOR, (min(scores), min(scores)), {}))
    finds = {
        name: [(f, detector.find(f.image, f.um_per_px)) for f in fields]
        for name, fields in groups.items()
    }

    def at(least: float) -> Judged:
        return Judged(
            least,
            {
                name: sum((score(f, [c for c in cells if c.score >= least]) for f, cells in some),
                          Score())
                for name, some in finds.items()
            },
        )  # fmt: skip

    tried = [at(float(least)) for least in scores]
    best = max(one.f1 for one in tried)
    return min((one for one in tried if one.f1 >= best - SAME_F1), key=lambda one: one.least)


def clump_score(model: Path, fields: Sequence[Composed]) -> float:
    """The least score with which platelet clumps are found best, by F1; of several the lowest.

    Args:
        model: the fp32 file.
        fields: in which it is known where clumps are; labelled fields do not tell.
    """
    lowest, clump = min(CLUMP_SCORES), KINDS[1]
    detector = LearnedDetector(model, DetectorSpec(LOOKS_FOR, (lowest, lowest), {}))
    finds = [(field, detector.find(field.image, field.um_per_px)) for field in fields]

    def f1(least: float) -> float:
        hit = both = 0
        for field, found in finds:
            true = [(c.x_px, c.y_px) for c in field.cells if c.kind == clump and not c.thick]
            clumps = [c for c in found if c.kind == clump and c.score >= least]
            hit += len(pairs(true, clumps, CLUMP_WITHIN_UM / field.um_per_px))
            both += len(true) + len(clumps)
        return 2 * hit / max(1, both)

    return max(map(float, CLUMP_SCORES), key=f1)
