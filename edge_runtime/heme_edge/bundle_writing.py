"""Writing a model bundle; reading and verifying one is ``heme_edge.bundle``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from heme_edge.bundle import (
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    Bundle,
    BundleInfo,
    load_bundle,
    sha256_of,
)
from heme_edge.crops import CROP_PX, CROP_UM_PER_PX
from heme_edge.errors import BundleError


def write_bundle(folder: Path, info: BundleInfo, fill: Callable[[Path], None]) -> Bundle:
    """Writes a bundle so that it is there whole or not at all.

    Args:
        folder: where it shall be; an older bundle there is replaced.
        info: its contents; the hashes are filled in here.
        fill: writes every file but ``bundle.json`` into the folder it is given.

    Raises:
        BundleError: the folder holds something that is not a bundle, or cannot be written.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise BundleError(f"'{folder}' is not empty and not a bundle.", "Choose another folder")
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        fill(part)
        (part / MANIFEST).write_text(_manifest_text(part, info), encoding="utf-8")
        load_bundle(part)
        if folder.exists():
            shutil.rmtree(folder)
        part.replace(folder)
    except OSError as error:
        raise BundleError(f"The bundle '{folder}' cannot be written ({error.strerror}).") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return load_bundle(folder)


def _manifest_text(folder: Path, info: BundleInfo) -> str:
    content = asdict(info)
    for model in content["models"]:
        model["sha256"] = sha256_of(folder / model["file"])
    models = {model["file"] for model in content["models"]}
    others = sorted(p.name for p in folder.iterdir() if p.name not in models)
    head = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "crop": {"px": CROP_PX, "um_per_px": CROP_UM_PER_PX, "colour": "RGB"},
        "files": {name: sha256_of(folder / name) for name in others},
    }
    return json.dumps(head | content, indent=1, ensure_ascii=False) + "\n"
