"""How many cells of labelled fields a detector finds, and how many of its finds are cells.

    benchmarks/detection.py --images DIR --annotations CSV --label wbc --um-per-px 0.072

Prints one JSON line: recall, precision, truth, found, ms_per_megapixel.
"""

from __future__ import annotations

import csv
import fnmatch
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from heme_edge.cells import cell_class
from heme_edge.detect.base import Detector
from heme_edge.errors import HemeError, PhotoError
from heme_edge.results import NUCLEATED

if TYPE_CHECKING:
    from heme_edge.crops import Image
    from heme_edge.naming import Namer
    from heme_edge.results import DetectedCell


@dataclass(frozen=True)
class Truth:
    """One labelled object, px: a box, or a point when ``x1`` and ``y1`` are None."""

    x0: float
    y0: float
    x1: float | None
    y1: float | None

    def miss_px(self, cell: DetectedCell, tolerance_px: float) -> float | None:
        """Distance to the middle of the box or point; None when the cell does not hit it."""
        if self.x1 is None or self.y1 is None:
            away = _distance(cell, self.x0, self.y0)
            return away if away <= tolerance_px else None
        if not (self.x0 <= cell.x_px <= self.x1 and self.y0 <= cell.y_px <= self.y1):
            return None
        return _distance(cell, (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2)


def _distance(cell: DetectedCell, x: float, y: float) -> float:
    return float(((cell.x_px - x) ** 2 + (cell.y_px - y) ** 2) ** 0.5)


def hits(cells: list[DetectedCell], truths: list[Truth], tolerance_px: float) -> int:
    """Cells matched one to one, highest score first, each to the nearest truth left."""
    left = list(truths)
    for cell in sorted(cells, key=lambda one: -one.score):
        reach = [(truth.miss_px(cell, tolerance_px), k) for k, truth in enumerate(left)]
        near = [(miss, k) for miss, k in reach if miss is not None]
        if near:
            left.pop(min(near)[1])
    return len(truths) - len(left)


def _rows(path: Path, columns: set[str]) -> list[dict[str, str]]:
    """Rows of a CSV file that has these columns."""
    if not path.is_file():
        raise HemeError(f"There is no file {path}.", "Give the path of the CSV file.")
    with path.open(newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        missing = columns - set(reader.fieldnames or ())
        if missing:
            raise HemeError(f"{path} has no column {', '.join(sorted(missing))}.")
        return list(reader)


def _truth(row: dict[str, str], path: Path) -> Truth:
    try:
        x1, y1 = (float(row[key]) if row[key] else None for key in ("x1", "y1"))
        return Truth(float(row["x0"]), float(row["y0"]), x1, y1)
    except ValueError as error:
        raise HemeError(
            f"{path} holds a coordinate that is no number for {row['file']}."
        ) from error


def truths_by_file(
    annotations: Path, label: str, only: str, split: Path | None, role: str
) -> dict[str, list[Truth]]:
    """Truths of each file to look at; files without the label have an empty list."""
    rows = _rows(annotations, {"file", "label", "x0", "y0", "x1", "y1"})
    files = {row["file"] for row in rows}
    if split is not None:
        roles = _rows(split, {"file", "role"})
        files = {row["file"] for row in roles if row["role"] == role}
    found: dict[str, list[Truth]] = {f: [] for f in sorted(files) if fnmatch.fnmatch(f, only)}
    if not found:
        raise HemeError(
            f"No file of {annotations} fits {only!r}.", "Check --only, --split, --role."
        )
    for row in rows:
        if row["file"] in found and row["label"] == label:
            found[row["file"]].append(_truth(row, annotations))
    return found


@dataclass(frozen=True)
class LabelErrors:
    """Labels that are wrong, by somebody who looked at the pictures.

    Attributes:
        missing: cells without a label, by file.
        wrong: labels on what is no cell.
        either: what nobody can tell (smudges, cells of which a rim is seen): neither labels nor
            finds there count.
    """

    missing: dict[str, list[Truth]]
    wrong: dict[str, list[Truth]]
    either: dict[str, list[Truth]]

    def corrected(self, truths: dict[str, list[Truth]]) -> dict[str, list[Truth]]:
        """The truths without these errors."""
        return {
            file: [
                one
                for one in (*some, *self.missing.get(file, ()))
                if one not in (*self.wrong.get(file, ()), *self.either.get(file, ()))
            ]
            for file, some in truths.items()
        }

    def counted(self, file: str, cells: list[DetectedCell]) -> list[DetectedCell]:
        """Finds that are not where nobody can tell."""
        unsure = self.either.get(file, ())
        return [c for c in cells if all(one.miss_px(c, 0.0) is None for one in unsure)]


def label_errors(path: Path | None, label: str) -> LabelErrors:
    """Errors of one label from a CSV file,label,x0,y0,x1,y1,what; none without a file."""
    kinds: dict[str, dict[str, list[Truth]]] = {"missing": {}, "wrong": {}, "either": {}}
    columns = {"file", "label", "x0", "y0", "x1", "y1", "what"}
    for row in _rows(path, columns) if path else []:
        if row["what"] not in kinds:
            raise HemeError(f"{path} has an error of unknown kind '{row['what']}'.")
        if row["label"] == label:
            kinds[row["what"]].setdefault(row["file"], []).append(_truth(row, Path(str(path))))
    return LabelErrors(**kinds)


@dataclass(frozen=True)
class AfterNaming(Detector):
    """A detector whose finds are named by the default bundle; artifacts and platelets drop out."""

    detector: Detector
    namer: Namer

    @property
    def name(self) -> str:
        """The detector's name, and that its finds were named."""
        return f"{self.detector.name}, after naming"

    @property
    def looks_for(self) -> tuple[str, ...]:
        """What the detector looks for."""
        return self.detector.looks_for

    def find(self, image: Image, um_per_px: float) -> list[DetectedCell]:
        """Finds whose best class is counted in a differential, however uncertain."""
        named = self.namer.name_field(image, um_per_px).cells
        return [one.cell for one in named if cell_class(one.name.code).in_differential]


def with_naming(detector: Detector) -> AfterNaming:
    """The detector followed by the default bundle."""
    from heme_edge.backends import open_backend
    from heme_edge.bundle import load_bundle
    from heme_edge.naming import Namer

    bundle = load_bundle()
    return AfterNaming(
        detector, Namer(bundle, open_backend(bundle, "onnxruntime", "int8"), detector)
    )


def _read(path: Path) -> Image:
    """A picture as RGB uint8 ``[H, W, 3]``."""
    from heme_edge.photos import read_photo

    try:
        return read_photo(path)
    except PhotoError as error:
        raise HemeError(f"{path} {error.message}.", "Check --images.") from error


def measure(
    detector: Detector,
    images: Path,
    truths: dict[str, list[Truth]],
    um_per_px: float,
    tolerance_um: float,
    errors: LabelErrors,
) -> dict[str, float | int | None]:
    """The figures of one detector over these files; a share of nothing is None."""
    truths = errors.corrected(truths)
    hit = found = 0
    seconds = pixels = 0.0
    for file, wanted in truths.items():
        image = _read(images / file)
        start = time.perf_counter()
        cells = [c for c in detector.find(image, um_per_px) if c.kind == NUCLEATED]
        seconds += time.perf_counter() - start
        pixels += image.shape[0] * image.shape[1]
        cells = errors.counted(file, cells)
        hit += hits(cells, wanted, tolerance_um / um_per_px)
        found += len(cells)
    truth = sum(len(wanted) for wanted in truths.values())
    return {
        "recall": round(hit / truth, 4) if truth else None,
        "precision": round(hit / found, 4) if found else None,
        "truth": truth,
        "found": found,
        "ms_per_megapixel": round(1e3 * seconds / (pixels / 1e6), 1),
    }


@click.command()
@click.option("--images", type=click.Path(path_type=Path), required=True, help="Folder of fields.")
@click.option("--annotations", type=click.Path(path_type=Path), required=True, help="Labels, CSV.")
@click.option("--label", required=True, help="The label that is looked for.")
@click.option("--um-per-px", type=click.FloatRange(0.05, 1.0), required=True, help="Scale.")
@click.option("--only", default="*", show_default=True, help="Files to use, such as 'bccd/*'.")
@click.option("--tolerance-um", default=4.0, show_default=True, help="For labels that are points.")
@click.option("--detector", "name", default="auto", show_default=True, help="Or classical.")
@click.option("--precision", default="int8", show_default=True, help="Of the learned one.")
@click.option("--split", type=click.Path(path_type=Path), help="CSV with columns file, role.")
@click.option("--role", default="test", show_default=True, help="Files of --split to use.")
@click.option("--label-errors", "label_errors_file", type=click.Path(path_type=Path),
              help="CSV of wrong labels: file,label,x0,y0,x1,y1,what.")  # fmt: skip
@click.option("--after-naming", is_flag=True, help="Drop what the default bundle calls no cell.")
def main(
    images: Path,
    annotations: Path,
    label: str,
    um_per_px: float,
    only: str,
    tolerance_um: float,
    name: str,
    precision: str,
    split: Path | None,
    role: str,
    label_errors_file: Path | None,
    after_naming: bool,
) -> None:
    """Recall and precision of a detector on labelled fields, as one JSON line."""
    from heme_edge.detect import open_detector

    try:
        truths = truths_by_file(annotations, label, only, split, role)
        detector = open_detector(name, precision=precision)
        if after_naming:
            detector = with_naming(detector)
        figures = measure(
            detector,
            images,
            truths,
            um_per_px,
            tolerance_um,
            label_errors(label_errors_file, label),
        )
    except HemeError as error:
        raise click.ClickException(f"{error.message} {error.hint}".strip()) from error
    click.echo(json.dumps(figures))


if __name__ == "__main__":
    main()
