import os
from pathlib import Path

import pytest

from tests.conftest import Run


def test_a_working_machine(heme_edge: Run) -> None:
    done = heme_edge("doctor")
    assert done.returncode == 0, done.stderr
    for word in ("OpenCV", "GStreamer", "Cameras", "intact", "onnxruntime int8", "works"):
        assert word in done.stdout
    assert "Research use only" in done.stdout


def test_a_damaged_bundle_is_said(bundle_copy: Path, heme_edge: Run) -> None:
    (bundle_copy / "fp32.onnx").write_bytes(b"x")
    done = heme_edge("doctor", "--bundle", bundle_copy)
    assert done.returncode == 1
    assert "damaged: 'fp32.onnx'" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.fixture
def no_opencv(tmp_path: Path) -> dict[str, str]:
    """As on a board where nobody installed it: a module that cannot be loaded stands in."""
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: not found', name='cv2')")
    return os.environ | {"PYTHONPATH": str(tmp_path)}


def test_a_missing_opencv_is_said(no_opencv: dict[str, str], heme_edge: Run) -> None:
    done = heme_edge("doctor", env=no_opencv)
    assert "cannot be imported: libGL.so.1" in done.stdout
    assert "heme-edge[cv2]" in done.stdout


def test_a_missing_package_is_one_sentence(
    tmp_path: Path, no_opencv: dict[str, str], heme_edge: Run
) -> None:
    done = heme_edge("live", "--camera", "sim", "--headless", env=no_opencv)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "Error: The package 'cv2' is not installed, or cannot be loaded.",
        "Try: pip install 'heme-edge[cv2]'",
    ]
