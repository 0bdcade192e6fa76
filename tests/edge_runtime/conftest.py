"""Fixtures of the runtime's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from heme_edge.sim import Smear, draw_smear
from tests.edge_runtime.slide_kit import UM, write_slide


@pytest.fixture(scope="session")
def smear() -> Smear:
    """1 mm by 0.8 mm."""
    return draw_smear(3, width_um=1000, height_um=800, um_per_px=UM)


@pytest.fixture(scope="session")
def slide(tmp_path_factory: pytest.TempPathFactory, smear: Smear) -> Path:
    return write_slide(tmp_path_factory.mktemp("slides") / "smear.svs", smear.image)
