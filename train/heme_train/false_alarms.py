"""What a detector takes for cells and is none: cut from fields, to be learned as artifact.

Also cut: the true cells of the same fields, so that their optics are not learned as "artifact",
and places without any cell, whose surroundings may stand around labelled cells.
Nothing of this is committed; the pictures go to a tar shard beside a manifest.
"""

from __future__ import annotations

import csv
import hashlib
import io
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from heme_edge.cells import ARTIFACT_CODE
from heme_edge.crops import CROP_UM, CropSampler, Image
from heme_edge.detect.classical import ClassicalDetector
from heme_edge.errors import HemeError
from heme_edge.photos import read_photo
from heme_train.data import BACKGROUND, FOLDS, NUCLEATED
from heme_train.labelled_fields import Box, Fields, files_of, read_boxes

NEAR_UM = 6.0
"""A place nearer than this to a labelled cell is no false alarm."""


def cut_false_alarms(
    fields: Fields, out: Path, min_score: float = 0.2, per_field: int = 6, seed: int = 0
) -> Counter[str]:
    """Writes ``false-alarms.tar`` and ``false-alarms-manifest.csv`` to ``out``.

    Rows of code U1 are detections far from every labelled cell and platelet, and labelled red
    cells; rows of code ``nucleated`` are detections in the box of a labelled cell, whose class
    is not told; rows of code ``background`` are places with no labelled cell within a crop. A
    field's crops share one group and one fold.

    Returns:
        rows by code.

    Raises:
        HemeError: no field of that role and pattern, or nothing to cut.
    """
    boxes = read_boxes(fields.annotations)
    files = files_of(fields)
    rng = np.random.default_rng(seed)
    out.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, str, str, str, str]] = []
    with tarfile.open(out / "false-alarms.tar", "w") as shard:
        for file in files:
            source = file.split("/")[0]
            image = read_photo(fields.images / file)
            places = _places(image, boxes.get(file, []), fields, min_score, per_field, rng)
            for k, (code, x, y) in enumerate(places):
                crop = CropSampler(image, fields.um_per_px).cut(x, y)
                name = f"{source}-{Path(file).stem}-{k}.png"
                _add(shard, name, crop)
                rows.append((name, code, f"field-{file}", source, _fold(file)))
    if not rows:
        raise HemeError("Nothing was cut: there is no false alarm in these fields.")
    with (out / "false-alarms-manifest.csv").open("w", newline="") as file_:
        writer = csv.writer(file_)
        writer.writerow(["file", "code", "group", "source", "role"])
        writer.writerows(rows)
    return Counter(code for _, code, *_ in rows)


def _places(
    image: Image,
    boxes: list[Box],
    fields: Fields,
    min_score: float,
    per_field: int,
    rng: np.random.Generator,
) -> Iterator[tuple[str, float, float]]:
    near = NEAR_UM / fields.um_per_px
    half = CROP_UM / 2 / fields.um_per_px
    cells = [b for b in boxes if b.label == fields.label]
    small = [b for b in boxes if "platelet" in b.label]
    for cell in ClassicalDetector(min_score).find(image, fields.um_per_px):
        x, y = cell.x_px, cell.y_px
        if any(b.distance(x, y) == 0 for b in cells):
            yield NUCLEATED, x, y
        far = all(b.distance(x, y) > near for b in cells)
        if far and all(b.distance(x, y) > 0 for b in small):
            yield ARTIFACT_CODE, x, y
    red = [b for b in boxes if b.label.startswith("rbc")]
    for i in rng.permutation(len(red))[:2]:
        x, y = (red[i].x0 + red[i].x1) / 2, (red[i].y0 + red[i].y1) / 2
        if all(b.distance(x, y) > near for b in cells + small):
            yield ARTIFACT_CODE, x, y
    height, width = image.shape[:2]
    for _ in range(per_field):
        x, y = rng.uniform(half, width - half), rng.uniform(half, height - half)
        dark = image[int(y), int(x)].max() < 40
        if not dark and all(b.distance(x, y) > half * 1.2 for b in cells):
            yield BACKGROUND, x, y


def _add(shard: tarfile.TarFile, name: str, crop: Image) -> None:
    import cv2

    data = cv2.imencode(".png", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))[1].tobytes()
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    shard.addfile(entry, io.BytesIO(data))


def _fold(file: str) -> str:
    return FOLDS[hashlib.sha256(file.encode()).digest()[0] % len(FOLDS)]
