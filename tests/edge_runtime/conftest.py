"""Fixtures of the runtime's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heme_edge.sim import Smear, draw_smear
from tests.edge_runtime.page_kit import CHROMIUM
from tests.edge_runtime.slide_kit import UM, write_slide


@pytest.fixture(scope="session")
def smear() -> Smear:
    """1 mm by 0.8 mm."""
    return draw_smear(3, width_um=1000, height_um=800, um_per_px=UM)


@pytest.fixture(scope="session")
def slide(tmp_path_factory: pytest.TempPathFactory, smear: Smear) -> Path:
    return write_slide(tmp_path_factory.mktemp("slides") / "smear.svs", smear.image)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium here (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright comes with [dev]")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def errors() -> Iterator[list[str]]:
    """What the browser's console complained of; a test ends without any."""
    found: list[str] = []
    yield found
    assert found == []
