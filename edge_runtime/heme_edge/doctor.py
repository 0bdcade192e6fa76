"""``heme-edge doctor``: what works on this machine, and why the rest does not."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from heme_edge import __version__
from heme_edge.backends import check_all
from heme_edge.bundle import Bundle, load_bundle
from heme_edge.errors import HemeError
from heme_edge.machine import version_of
from heme_edge.notices import loss_lines
from heme_edge.opencv_build import opencv_has

NEEDED = ("numpy", "onnxruntime", "click", "rich")
OPTIONAL = {
    "openvino": "openvino",
    "tensorrt": "tensorrt",
    "pycuda": "tensorrt",
    "torch": "train",
    "timm": "train",
    "onnx": "export",
}


def report(bundle_path: Path | None) -> tuple[list[str], bool]:
    """Lines to print, and whether cells can be named here.

    Args:
        bundle_path: a bundle to check; None is the default one.
    """
    lines = [f"heme-edge {__version__}, Python {sys.version.split()[0]}, {_machine()}"]
    lines += ["", "Packages", *_packages()]
    lines += ["", "OpenCV", *_opencv()]
    lines += ["", "Cameras", *_cameras()]
    try:
        bundle = load_bundle(bundle_path)
    except HemeError as error:
        return [*lines, "", "Bundle", f"  damaged: {error.message}", f"  try: {error.hint}"], False
    lines += ["", "Bundle", *_bundle(bundle)]
    backends, works = _backends(bundle)
    return [*lines, "", "Backends (each run on the bundle's reference crops)", *backends, ""], works


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}"


def _packages() -> Iterator[str]:
    for package in NEEDED:
        yield f"  {package:<14}{version_of(package) or 'MISSING: pip install heme-edge'}"
    for package, extra in OPTIONAL.items():
        yield f"  {package:<14}{version_of(package) or f'not installed ([{extra}])'}"


def _opencv() -> Iterator[str]:
    try:
        import cv2

        from heme_edge.frames.csi import GST_LAUNCH
    except ImportError as error:
        yield f"  cannot be imported: {error}. Try: pip install 'heme-edge[cv2]'"
        return
    yield f"  version       {cv2.__version__}"
    yield f"  GStreamer     {opencv_has('GStreamer')} (CSI cameras of a Jetson need it,"
    yield f"                or {GST_LAUNCH}: {shutil.which(GST_LAUNCH) or 'NO'})"
    yield f"  FFMPEG        {opencv_has('FFMPEG')} (network streams and video need it)"
    yield f"  V4L2          {opencv_has('v4l/v4l2')} (USB cameras need it)"
    yield f"  GUI           {opencv_has('GUI')} (--window needs it)"
    both = [p for p in ("opencv-python", "opencv-python-headless") if version_of(p)]
    if len(both) > 1:
        yield "  WARNING: opencv-python and opencv-python-headless break each other; remove one"


def _cameras() -> Iterator[str]:
    from heme_edge.frames.camera import list_cameras

    found = list_cameras()
    if not found:
        yield "  none found; --camera sim is a simulated stage"
    for camera in found:
        yield f"  {camera.index}  {camera.label}  {camera.by_id or camera.path}"


def _bundle(bundle: Bundle) -> Iterator[str]:
    precisions = ", ".join(bundle.precisions)
    yield f"  {bundle.info.name}: intact, {len(bundle.codes)} classes, {precisions}"
    yield f"  {bundle.path}"
    yield f"  names {', '.join(bundle.codes)} and nothing else"
    yield from (f"  {line}" for line in loss_lines(bundle.accepted_losses))


def _backends(bundle: Bundle) -> tuple[list[str], bool]:
    checks = check_all(bundle)
    lines = []
    for c in checks:
        said = f"works, mean |Δp| {c.mean_difference:.4f}" if c.works else f"not used: {c.reason}"
        lines.append(f"  {c.backend:<12}{c.precision:<6}{said}")
    return lines, any(c.works for c in checks)
