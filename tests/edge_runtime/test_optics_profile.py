"""The profile's file: written whole, read back alike, and refused with a sentence."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from heme_edge.errors import OpticsError
from heme_edge.optics.apply import Corrector
from heme_edge.optics.profile import GRID, RoundField, load_profile, save_profile
from heme_edge.photos import decode_photo, exif_orientation, read_as_recorded, read_photo, turn
from tests.edge_runtime.optics_parts import SIZE, dimmed, even_profile, light, smears


def test_read_back_alike(tmp_path: Path) -> None:
    gains = np.linspace(0.9, 2.0, 24 * 32 * 3, dtype=np.float32).reshape(*GRID, 3)
    profile = even_profile(flat_field=gains, round_field=RoundField(0.5, 0.52, 0.4), name="left")
    save_profile(profile, tmp_path / "scope.json")
    found = load_profile(tmp_path / "scope.json")
    assert np.allclose(found.flat_field, gains, atol=1e-4)
    assert (found.round_field, found.name) == (profile.round_field, "left")
    assert (found.um_per_px_low95, found.um_per_px, found.um_per_px_high95) == (0.28, 0.3, 0.33)
    content = json.loads((tmp_path / "scope.json").read_text())
    assert "Research use only" in content["notice"]


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("um_per_px", float("nan"), "has no number in 'um_per_px'"),
        ("um_per_px", -0.2, "has an impossible 'um_per_px'"),
        ("um_per_px", 1e300, "has an impossible 'um_per_px'"),
        ("um_per_px", True, "has no number in 'um_per_px'"),
        ("um_per_px_low95", 0.31, "has an impossible scale"),
        ("white_rgb", [1, 2], "not 3 numbers"),
        ("white_rgb", [0, 200, 200], "impossible value in 'white_rgb'"),
        ("flat_field", [[1.0]], "not 24x32x3 numbers"),
        ("flat_field", np.full((24, 32, 3), 900.0).tolist(), "impossible value in 'flat_field'"),
        ("flat_field", "rubbish", "is damaged"),
        ("round_field", {"x": 0.5, "y": 0.5, "radius": -1}, "impossible 'radius'"),
        ("round_field", {"x": 0.5}, "is damaged"),
        ("width_px", 0, "impossible 'width_px'"),
        ("format", "something", "is not an optics profile"),
        ("format_version", 2, "has format 2; this program knows 1"),
    ],
)
def test_rubbish_is_refused(tmp_path: Path, key: str, value: Any, sentence: str) -> None:
    path = tmp_path / "scope.json"
    save_profile(even_profile(), path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(OpticsError, match=sentence) as caught:
        load_profile(path)
    assert str(path) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"[]", b"{", b"[" * 100_000, b"{}"])
def test_what_is_no_profile(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "scope.json").write_bytes(text)
    with pytest.raises(OpticsError, match=r"is damaged|is not an optics profile"):
        load_profile(tmp_path / "scope.json")


def test_a_profile_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OpticsError, match="cannot be read"):
        load_profile(tmp_path / "scope.json")


def test_unwritable_place(tmp_path: Path) -> None:
    with pytest.raises(OpticsError, match="cannot be written"):
        save_profile(even_profile(), tmp_path / "missing" / "scope.json")


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    code = (
        "import sys; from pathlib import Path; from heme_edge.errors import OpticsError\n"
        "from heme_edge.optics.profile import save_profile\n"
        "from tests.edge_runtime.optics_parts import even_profile\n"
        "try: save_profile(even_profile(), Path(sys.argv[1]))\n"
        "except OpticsError as error: print(error.message)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "scope.json")]
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, capture_output=True, text=True, preexec_fn=small_files, timeout=60,
        env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    assert "cannot be written" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_another_size_is_fine_and_another_shape_is_refused() -> None:
    corrector = Corrector(even_profile())
    image = np.full((270, 480, 3), 100, np.uint8)
    assert np.array_equal(corrector.correct(image), image)
    assert even_profile().um_per_px_at(480) == pytest.approx(0.6)
    with pytest.raises(OpticsError, match="another shape of frame"):
        corrector.correct(np.zeros((480, 640, 3), np.uint8))


def test_round_field_is_black_outside() -> None:
    corrector = Corrector(even_profile(round_field=RoundField(0.5, 0.5, 0.25)))
    seen = corrector.correct(np.full((SIZE[1], SIZE[0], 3), 200, np.uint8))
    assert seen[0, 0].max() == 0
    assert (seen[270, 480] == 200).all()


def test_white_becomes_the_target() -> None:
    seen = Corrector(even_profile(), (255.0, 229.0, 202.0)).correct(
        np.full((SIZE[1], SIZE[0], 3), (240, 230, 220), np.uint8)
    )
    assert np.abs(seen.astype(int) - (255, 229, 202)).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_turned_by_exif_fits_its_own_profile(tmp_path: Path, orientation: int) -> None:
    """The vignette belongs to the sensor, so it is taken away before the picture is turned."""
    by = light(0.4)
    by[:, : SIZE[0] // 2] *= 0.8  # not symmetric
    flat = cv2.resize((1 / by).astype(np.float32), GRID[::-1], interpolation=cv2.INTER_AREA)
    corrector = Corrector(even_profile(flat_field=flat))
    image = dimmed(smears(1)[0], by)
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.jpg"
    Pillow.fromarray(image).save(path, quality=95, exif=exif.tobytes())
    assert exif_orientation(path.read_bytes()) == orientation
    recorded = read_as_recorded(path)
    assert recorded.shape == image.shape
    assert np.array_equal(turn(recorded, orientation), decode_photo(path.read_bytes()))
    expected = turn(corrector.correct(recorded), orientation)
    assert np.array_equal(read_photo(path, corrector.correct), expected)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8Exif\0\0MM\0*\0\0\0\xff"])
def test_exif_that_is_cut_short_or_missing(data: bytes) -> None:
    assert exif_orientation(data) == 1
