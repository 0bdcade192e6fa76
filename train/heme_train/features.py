"""The penultimate features of a network: their picture in two dimensions, the shortcut alarm.

The alarm asks whether the *source* of a cell can be told from the features within one class. Where
it can, the features carry the slide's stain, scanner or background, and a class seen in one
source only may be named by them.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import Image
from heme_edge.errors import HemeError, MissingExtraError
from heme_train.data import Crop
from heme_train.explain import member_of
from heme_train.runs import Run

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_PER_SOURCE = 150
FOLDS, LEAST_GROUPS = 5, 2
RIDGE = 0.1
"""Of the probe, as a share of a feature vector's mean squared length."""
PERMUTATIONS, DRAWS = 199, 1000
ALARM_P = 0.05
NEIGHBOURS, LEAST_CROPS = 15, 10
"""UMAP: neighbours of a crop, and how many crops there must be."""


@dataclass(frozen=True)
class Shortcut:
    """How well a linear probe tells the sources of one class's cells.

    Attributes:
        code: the class.
        sources: what is told apart.
        crops, groups: how many were used.
        accuracy: balanced accuracy on groups the probe was not fitted on.
        low, high: 95 % interval over groups.
        chance: one over the number of sources.
        p: share of 199 permutations of the sources among the groups that are told as well.
    """

    code: str
    sources: tuple[str, ...]
    crops: int
    groups: int
    accuracy: float
    low: float
    high: float
    chance: float
    p: float

    @property
    def alarm(self) -> bool:
        """Whether the source is told better than by chance."""
        return self.p <= ALARM_P


def penultimate(
    run: Run, member: int, images: Sequence[Image], batch: int = 64
) -> NDArray[np.float32]:
    """Features ``[N, D]`` that enter a network's last layer, of crops ``[96, 96, 3]`` uint8 RGB.

    Raises:
        HemeError: the run has no such member.
    """
    import torch

    network = member_of(run, member)
    parts = [np.zeros((0, 0), np.float32)]
    with torch.inference_mode():
        for at in range(0, len(images), batch):
            pixels = run.prepare(torch.from_numpy(np.stack(images[at : at + batch])))
            maps = network.forward_features(pixels)  # type: ignore[operator]  # timm's, unknown to nn.Module
            last = network.forward_head(maps, pre_logits=True)  # type: ignore[operator]  # timm's, unknown to nn.Module
            parts.append(last.flatten(1).numpy())
    return np.concatenate(parts[1:]) if len(parts) > 1 else parts[0]


def project(features: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    """UMAP of features ``[N, D]`` in two dimensions, ``[N, 2]``.

    Raises:
        MissingExtraError: umap-learn is not installed.
        HemeError: there are fewer than ten crops.
    """
    if len(features) < LEAST_CROPS:
        raise HemeError(f"UMAP needs at least {LEAST_CROPS} crops, not {len(features)}.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a seed makes umap run on one thread, and it says so
        try:
            from umap import UMAP
        except ImportError as error:
            raise MissingExtraError("umap-learn", "cluster") from error
        neighbours = min(NEIGHBOURS, len(features) - 1)
        mapper = UMAP(n_neighbors=neighbours, init="pca", random_state=seed)
        return np.asarray(mapper.fit_transform(features), np.float32)


def shortcuts(
    features: NDArray[np.float32], rows: Sequence[Crop], seed: int = 0
) -> tuple[list[Shortcut], dict[str, str]]:
    """The alarm for every class.

    Args:
        features: ``[N, D]``.
        rows: their crops.
        seed: of the choice of crops, the folds and the permutations.

    Returns:
        the classes of two or more sources, each with two or more groups; and for the other
        classes, why nothing can be told.
    """
    found, untold = [], {}
    for code in sorted({row.code for row in rows}):
        rng = np.random.default_rng(seed)
        where = np.array([i for i, row in enumerate(rows) if row.code == code])
        where = _some(where, rows, rng)
        enough = _sources([rows[i] for i in where])
        if len(enough) < 2:
            untold[code] = f"fewer than two sources with {LEAST_GROUPS} groups"
            continue
        where = np.array([i for i in where if rows[i].source in enough])
        found.append(_shortcut(code, features[where], [rows[i] for i in where], enough, rng))
    return found, untold


def _some(where: Ints, rows: Sequence[Crop], rng: np.random.Generator) -> Ints:
    """At most ``MOST_PER_SOURCE`` crops of each source, in their order."""
    by_source: dict[str, list[int]] = {}
    for i in rng.permutation(where):
        by_source.setdefault(rows[i].source, []).append(int(i))
    return np.sort(np.concatenate([chosen[:MOST_PER_SOURCE] for chosen in by_source.values()]))


def _sources(rows: Sequence[Crop]) -> list[str]:
    """Sources with enough groups to fit a probe on some and judge it on others."""
    groups: dict[str, set[str]] = {}
    for row in rows:
        groups.setdefault(row.source, set()).add(row.group)
    return sorted(s for s, names in groups.items() if len(names) >= LEAST_GROUPS)


def _shortcut(
    code: str, features: NDArray[np.float32], rows: Sequence[Crop], sources: list[str],
    rng: np.random.Generator,
) -> Shortcut:  # fmt: skip
    names = sorted({(row.source, row.group) for row in rows})
    group = np.array([names.index((row.source, row.group)) for row in rows])
    source_of = np.array([sources.index(source) for source, _ in names])
    gram = _gram(features)
    right = _told(gram, group, source_of, rng)
    accuracy = _balanced(right, source_of[group])
    by_chance = 0
    for _ in range(PERMUTATIONS):
        mixed = rng.permutation(source_of)
        told = _balanced(_told(gram, group, mixed, rng), mixed[group])
        by_chance += told >= accuracy
    low, high = _interval(right, group, source_of, rng)
    p = (1 + by_chance) / (1 + PERMUTATIONS)
    return Shortcut(
        code, tuple(sources), len(rows), len(names), accuracy, low, high, 1 / len(sources), p
    )


def _gram(features: NDArray[np.float32]) -> Floats:
    """Inner products of the standardised features, over their number, and one for the bias."""
    x = np.asarray(features, np.float64)
    x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-9)
    return np.asarray(x @ x.T / x.shape[1] + 1.0, np.float64)


def _told(
    gram: Floats, group: Ints, source_of: Ints, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Whether each crop's source is told by a probe fitted on the groups of other folds.

    The probe is ridge regression on one column for each source, in its dual form; every source
    weighs the same.

    Args:
        gram: ``[N, N]``.
        group: group index ``[N]``.
        source_of: source index of each group.
    """
    fold = _folds(source_of, rng)[group]
    label = source_of[group]
    targets = 2.0 * np.eye(int(label.max()) + 1)[label] - 1.0
    told = np.zeros(len(label), np.bool_)
    for number in range(int(fold.max()) + 1):
        test, train = fold == number, fold != number
        size = np.bincount(label[train], minlength=targets.shape[1])
        penalty = RIDGE * np.trace(gram) / len(gram) * size[label[train]] / size.mean()
        known = gram[np.ix_(train, train)] + np.diag(penalty)
        scores = gram[np.ix_(test, train)] @ np.linalg.solve(known, targets[train])
        told[test] = scores.argmax(1) == label[test]
    return told


def _folds(source_of: Ints, rng: np.random.Generator) -> Ints:
    """Fold of each group; every source has groups in every fold."""
    count = min(FOLDS, int(np.bincount(source_of).min()))
    fold = np.zeros(len(source_of), np.int64)
    for source in range(int(source_of.max()) + 1):
        own = rng.permutation(np.flatnonzero(source_of == source))
        fold[own] = np.arange(len(own)) % count
    return fold


def _balanced(right: NDArray[np.bool_], label: Ints) -> float:
    return float(np.mean([right[label == source].mean() for source in np.unique(label)]))


def _interval(
    right: NDArray[np.bool_], group: Ints, source_of: Ints, rng: np.random.Generator
) -> tuple[float, float]:
    """95 % of balanced accuracies over groups drawn anew within each source."""
    hits, sizes = np.bincount(group, right), np.bincount(group)
    recalls = []
    for source in range(int(source_of.max()) + 1):
        own = np.flatnonzero(source_of == source)
        drawn = rng.choice(own, (DRAWS, len(own)))
        recalls.append(hits[drawn].sum(1) / sizes[drawn].sum(1))
    low, high = np.percentile(np.mean(recalls, axis=0), [2.5, 97.5])
    return float(low), float(high)
