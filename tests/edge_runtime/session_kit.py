"""Sessions for tests: settings, cells with real JPEG crops, and a small session of all kinds."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np

from heme_edge.crops import Image
from heme_edge.session import (
    Batch,
    CellRow,
    FrameRow,
    KeyframeRow,
    Session,
    SessionClass,
    Settings,
    Source,
)
from heme_edge.session.crop import encode_crop

CLASSES = (
    SessionClass("M1", "myeloid blast", True),
    SessionClass("M6", "segmented neutrophil", True),
    SessionClass("PL", "platelet, single or clump", False),
    SessionClass("U1", "artifact", False),
)
SETTINGS = Settings(
    program="0.1.0", command="live", bundle="drawn", bundle_sha256="b" * 64, optics_sha256="",
    backend="onnxruntime int8", precision="int8", classes=CLASSES, reject_threshold=0.7,
    sources=(Source("simulated stage", 0.25, "source", True),), notice="Research use only.",
)  # fmt: skip


NO_DISK = "a small file system can be mounted by root only"


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A file system of 12 MB of its own; None where there is no right to mount one."""
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        yield None
        return
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@lru_cache
def crop(seed: int) -> Image:
    return np.random.default_rng(seed).integers(90, 220, (96, 96, 3), np.uint8)


@lru_cache
def jpeg(seed: int) -> bytes:
    return encode_crop(crop(seed))


def cell(
    number: int, code: str = "M6", reason: str = "", probability: float = 0.9, patch: int = 0,
    run: int = 0, picture: bytes | None = None,
) -> CellRow:  # fmt: skip
    """A cell; its place follows from its number."""
    said = np.full(4, (1 - probability) / 3, np.float32)
    said[[one.code for one in CLASSES].index(code)] = probability
    return CellRow(
        number, 0, number // 10, 100.0 + number, 50.0, 6.5, patch, 30.0 * number, 12.5, code,
        probability, said, 0.0, reason, "cell", 3, 1000.0 + number,
        jpeg(number % 5) if picture is None else picture, run,
    )  # fmt: skip


def frame(number: int, patch: int = 0, run: int = 0) -> FrameRow:
    return FrameRow(0, number, 1000.0 + number, patch, 5.0, 6.0, 320.0, 240.0, "", 9, "", run)


def keyframes(count: int, patch: int = 0) -> list[KeyframeRow]:
    rng = np.random.default_rng(patch)
    return [
        KeyframeRow(0, patch, 4.0 * k, 2.0, True, rng.integers(-60, 60, (24, 32)).astype(np.int8))
        for k in range(count)
    ]


def filled(folder: Path, cells: Iterable[CellRow] = ()) -> Session:
    """A session with one batch."""
    session = Session.create(folder, SETTINGS)
    session.add(Batch([frame(0)], list(cells)))
    return session


def of_all_kinds(folder: Path) -> Path:
    """A closed session with every kind of entry and something in every table."""
    session = filled(folder, [cell(k) for k in range(4)])
    cells = [cell(4, "M1", patch=1), cell(5, "M1", "uncertain", 0.5), cell(6, "U1", "artifact")]
    session.add(Batch([frame(1, 1)], cells, [], [], {0: keyframes(3)}))
    session.add(Batch([frame(2)], [], [(3, 2)], [(0, 1, 0, 100.0, -7.5)], {0: keyframes(2)}))
    session.correct(5, "M1", by="AB")
    session.correct(0, "M1", by="AB")
    session.undo(by="AB")
    session.sign("AB")
    session.reopen(by="AB")
    session.correct(1, "L4", by="CD")
    session.end({"edge": 2})
    session.sign("CD")
    session.close()
    return folder
