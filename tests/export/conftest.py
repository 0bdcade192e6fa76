"""One small finished run and its bundle in every precision, for all tests of the export."""

from pathlib import Path

import pytest

from heme_edge.bundle import Bundle
from heme_export.fill import Options
from heme_export.make import make_bundle
from heme_train.data import open_crops
from heme_train.fit import fit
from heme_train.recipe import Recipe
from tests.train.conftest import drawn_crops as drawn_crops


@pytest.fixture(scope="session")
def run(drawn_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    recipe = Recipe(network="test_efficientnet", weights="none", epochs=6, draws=160, batch=16)
    fit(open_crops(drawn_crops), folder, recipe)
    return folder


@pytest.fixture(scope="session")
def bundle(run: Path, drawn_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("out") / "bundle"
    options = Options("drawn", calibration_crops=64, methods=("Percentile",))
    return make_bundle(run, open_crops(drawn_crops), folder, options)
