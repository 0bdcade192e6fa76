"""A drawn crop set: three classes told apart by size and colour, in groups with roles."""

from __future__ import annotations

import csv
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from heme_train.data import open_crops
from heme_train.fit import fit
from heme_train.recipe import Recipe

ROLES = ("fold0", "fold1", "fold2", "fold3", "fold4", "confidence", "test")
LOOKS = {"L2": (14, (70, 30, 130)), "M1": (30, (120, 70, 170)), "ER": (20, (40, 30, 60))}


def draw(code: str, rng: np.random.Generator) -> bytes:
    radius, colour = LOOKS[code]
    side = int(rng.choice((96, 98, 128)))
    image = rng.integers(215, 245, (side, side, 3)).astype(np.uint8)
    shade = tuple(int(c + rng.integers(-12, 12)) for c in colour)
    middle = (side // 2 + int(rng.integers(-3, 4)), side // 2 + int(rng.integers(-3, 4)))
    cv2.circle(image, middle, radius + int(rng.integers(-3, 4)), shade, -1, cv2.LINE_AA)
    grain = cv2.GaussianBlur(rng.normal(0, 80, (side, side)), (0, 0), 2.0)[..., None]
    image = np.clip(image + grain, 0, 255).astype(np.uint8)  # no two cells are copies
    return bytes(cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes())


@pytest.fixture(scope="session")
def drawn_crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crops")
    rng = np.random.default_rng(0)
    rows = []
    with tarfile.open(folder / "crops-0.tar", "w") as shard:
        for code in LOOKS:
            for role in ROLES:
                for k in range(6):
                    name = f"site/{code}/{role}-{k}.png"
                    data = draw(code, rng)
                    entry = tarfile.TarInfo(name)
                    entry.size = len(data)
                    shard.addfile(entry, io.BytesIO(data))
                    rows.append([name, code, f"{code}-{role}", "site", role])
    with (folder / "crops-manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "code", "group", "source", "role"])
        writer.writerows(rows)
    return folder


TINY = Recipe(network="test_efficientnet", weights="none", epochs=3, draws=96, batch=16)


@pytest.fixture
def tiny() -> Recipe:
    return TINY


@pytest.fixture(scope="session")
def drawn_teacher(drawn_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run of ``--folds all``; copy it to change it."""
    run = tmp_path_factory.mktemp("teacher") / "run"
    fit(open_crops(drawn_crops), run, replace(TINY, hold_out="all", epochs=1, draws=48))
    return run
