"""The paper's tables (supplemental tables 1 to 5), to stand beside ours where codes agree."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heme_edge.errors import HemeError

PER_NETWORK = {
    "UCSF, mean of 5 networks": "s1-ucsf.csv",
    "MSK, mean of 5 networks": "s2-msk.csv",
}
EXPERTS = {
    "precision": "s4-experts-precision.csv",
    "recall": "s5-experts-recall.csv",
    "f1": "s3-experts-f1.csv",
}
FIVE, THREE = "575 images, mean of 5 networks", "575 images, mean of 3 experts"
SCORES = ("auc", "precision", "recall", "f1")
NOT_COMPARABLE = (
    "Only classes of the same code stand here; a parent class (ER, PL) has no counterpart in the "
    "paper. Images, stains, scanners and the mix of classes differ, so this is no contest. The "
    "paper averages the scores of five networks."
)


@dataclass(frozen=True)
class PaperTable:
    """One column group of the comparison: scores by code, ``{code: {score: value}}``."""

    title: str
    scores: Mapping[str, Mapping[str, float | None]]

    def has(self, score: str) -> bool:
        """Whether any class has this score here."""
        return any(row.get(score) is not None for row in self.scores.values())

    def shared(self, codes: Iterable[str]) -> list[str]:
        """Those of the codes that stand here too."""
        return [code for code in codes if code in self.scores]


def load_published(folder: Path) -> list[PaperTable]:
    """UCSF, MSK, and the 575 images of the experts (networks, then experts).

    Raises:
        HemeError: a file is missing or not as expected.
    """
    tables = [
        PaperTable(
            title,
            {
                code: {score: row[f"{score}_mean"] for score in SCORES}
                for code, row in _read(folder / file, [f"{s}_mean" for s in SCORES]).items()
            },
        )
        for title, file in PER_NETWORK.items()
    ]
    for title, readers in (
        (FIVE, [f"fold{i}" for i in range(1, 6)]),
        (THREE, [f"expert{i}" for i in range(1, 4)]),
    ):
        tables.append(PaperTable(title, _mean_over(folder, readers)))
    return tables


def _mean_over(folder: Path, readers: list[str]) -> dict[str, dict[str, float]]:
    scores: dict[str, dict[str, float]] = {}
    for score, file in EXPERTS.items():
        for code, row in _read(folder / file, readers).items():
            scores.setdefault(code, {})[score] = float(np.mean([row[r] for r in readers]))
    return scores


def _read(path: Path, columns: list[str]) -> dict[str, dict[str, float]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {row["code"]: {c: float(row[c]) for c in columns} for row in rows}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise HemeError(
            f"'{path}' is not the paper's table it should be ({error}).",
            "--paper takes the folder with s1-ucsf.csv to s5-experts-recall.csv",
        ) from error
