"""Fixtures shared by all rooms."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from heme_edge.bundle import DEFAULT_BUNDLE, MANIFEST, Bundle
from heme_edge.crops import Image

Run = Callable[..., "subprocess.CompletedProcess[str]"]
LOSS = "int8: class M4 lost 3.1 points of recall (2 points allowed)."


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is remembered from one start to the next, here from one test to the next."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def heme_data() -> Path:
    """The real images; tests that need them skip where they are not."""
    folder = os.environ.get("HEME_DATA")
    if not folder:
        pytest.skip("HEME_DATA is not set: the real images are not on this machine")
    return Path(folder)


@pytest.fixture
def bundle_copy(tmp_path: Path) -> Path:
    """A copy of the default bundle that a test may damage."""
    return Path(shutil.copytree(DEFAULT_BUNDLE, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def heme_edge() -> Run:
    """Runs ``heme-edge`` in a process of its own, as a user does."""

    def run(*arguments: str | Path, **kwargs: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "heme_edge.cli", *map(str, arguments)]
        options: dict[str, object] = {"capture_output": True, "text": True, "timeout": 120}
        return subprocess.run(command, **(options | kwargs))  # type: ignore[call-overload]  # options of any kind

    return run


def with_strict_int8(bundle: Bundle) -> Bundle:
    """The bundle as a machine finds it whose INT8 arithmetic is not what was certified."""
    strict = tuple(
        replace(m, tolerance=1e-9) if m.precision == "int8" else m for m in bundle.info.models
    )
    return replace(bundle, info=replace(bundle.info, models=strict))


def edit_manifest(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes bundle.json in its place; the bundle is then another one, of the same files."""
    content = json.loads((bundle / MANIFEST).read_text())
    change(content)
    (bundle / MANIFEST).write_text(json.dumps(content))


def with_accepted(bundle: Path, losses: object) -> Path:
    """The same folder, its manifest saying that these losses were accepted at export."""
    edit_manifest(bundle, lambda content: content["parity"].update(accepted=losses))
    return bundle


def draw_cell(side: int = 96, nucleus: int = 18, cell: int = 30) -> Image:
    """A purple nucleus in pale cytoplasm on a bright background, RGB ``[side, side, 3]``."""
    image = np.full((side, side, 3), (238, 232, 236), np.uint8)
    middle = (side // 2, side // 2)
    cv2.circle(image, middle, cell, (205, 190, 225), -1, cv2.LINE_AA)
    cv2.circle(image, middle, nucleus, (90, 40, 140), -1, cv2.LINE_AA)
    return image


def draw_field(width: int = 640, height: int = 480, um_per_px: float = 0.25) -> Image:
    """A field with six drawn cells well inside it and one cut by the left border."""
    image = np.full((height, width, 3), (238, 232, 236), np.uint8)
    scale = 0.25 / um_per_px
    spots = [
        (0.2, 0.25),
        (0.5, 0.25),
        (0.8, 0.25),
        (0.2, 0.75),
        (0.5, 0.75),
        (0.8, 0.75),
        (0.0, 0.5),
    ]
    for fx, fy in spots:
        at = (round(fx * width), round(fy * height))
        cv2.circle(image, at, round(26 * scale), (205, 190, 225), -1, cv2.LINE_AA)
        cv2.circle(image, at, round(18 * scale), (90, 40, 140), -1, cv2.LINE_AA)
    return image


def save(path: Path, image: Image) -> Path:
    """Writes an RGB picture in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return path
