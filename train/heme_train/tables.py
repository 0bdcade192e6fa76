"""Reading anybody's probabilities and truth from two tables, and saying what is odd in them."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heme_edge.cells import cell_class
from heme_edge.errors import HemeError
from heme_train.answers import Answers
from heme_train.metrics import SUM_TOLERANCE

IMAGE_COLUMNS = ("file", "path", "image")
CODE_COLUMNS = ("code", "label")
GROUP_COLUMNS = ("group", "slide")
RATIO_TOLERANCE = 1.01
"""Room for probabilities rounded to four digits."""


@dataclass(frozen=True)
class Predictions:
    """A table of probabilities: one row per image, one column per code."""

    images: tuple[str, ...]
    codes: tuple[str, ...]
    probabilities: NDArray[np.float64]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class TrueCell:
    """One row of a truth table; group and source may be empty."""

    code: str
    group: str
    source: str


def read_rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header, and rows with their line numbers, of a table with tabs or commas between.

    Raises:
        HemeError: it cannot be read as text, or holds no row under its header.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise HemeError(f"'{path}' cannot be read as a table ({error}).") from error
    lines = text.splitlines()
    mark = "\t" if lines and "\t" in lines[0] else ","
    reader = csv.reader(lines, delimiter=mark)
    rows = [(reader.line_num, [field.strip() for field in row]) for row in reader if any(row)]
    if len(rows) < 2:
        raise HemeError(f"'{path}' holds no row under its header.")
    header = rows[0][1]
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise HemeError(
                f"'{path}', line {line}: {len(row)} columns, but the header has {len(header)}."
            )
    return header, rows[1:]


def read_predictions(path: Path) -> Predictions:
    """Probabilities: the first column is the image, every other header a code or alias.

    Raises:
        HemeError: a header is no code, a class or image stands twice, or a value is not a
            number from 0 upwards.
    """
    header, rows = read_rows(path)
    codes = _codes(path, header[1:])
    images = _images_once(path, ((line, row[0]) for line, row in rows))
    values = [[_probability(path, line, v) for v in row[1:]] for line, row in rows]
    probabilities = np.array(values, np.float64)
    empty = np.flatnonzero(probabilities.sum(axis=1) <= 0)
    if len(empty):
        raise HemeError(f"'{path}', line {rows[empty[0]][0]}: all probabilities are 0.")
    renamed = [f"{h} was read as {c}." for h, c in zip(header[1:], codes, strict=True) if h != c]
    return Predictions(images, codes, probabilities, (*renamed, *oddities(probabilities)))


def _codes(path: Path, headers: list[str]) -> tuple[str, ...]:
    if len(headers) < 2:
        raise HemeError(
            f"'{path}' needs the image and at least two classes.",
            "First column the image, then one column per code",
        )
    codes: list[str] = []
    for header in headers:
        code = _known(path, 1, header)
        if code in codes:
            raise HemeError(f"'{path}' has two columns of the class {code}.")
        codes.append(code)
    return tuple(codes)


def _known(path: Path, line: int, text: str) -> str:
    try:
        return cell_class(text).code
    except HemeError as error:
        raise HemeError(f"'{path}', line {line}: {error.message}", error.hint) from error


def _images_once(path: Path, images: Iterator[tuple[int, str]]) -> tuple[str, ...]:
    seen: dict[str, int] = {}
    for line, image in images:
        if not image:
            raise HemeError(f"'{path}', line {line}: there is no image name.")
        if image in seen:
            raise HemeError(
                f"'{path}', line {line}: the image '{image}' stands on line {seen[image]} already."
            )
        seen[image] = line
    return tuple(seen)


def _probability(path: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise HemeError(f"'{path}', line {line}: '{text}' is not a probability.")
    return value


def read_truth(path: Path) -> dict[str, TrueCell]:
    """True codes by image, with the group and source where the table has them.

    Columns (any case, any order): ``file``, ``path`` or ``image``; ``code`` or ``label``;
    optionally ``group`` or ``slide``, and ``source``. A manifest of ``heme-train`` is one.

    Raises:
        HemeError: a column is missing, a code unknown, or an image stands twice.
    """
    header, rows = read_rows(path)
    names = [h.lower() for h in header]
    image, code = (_column(names, wanted) for wanted in (IMAGE_COLUMNS, CODE_COLUMNS))
    group, source = _column(names, GROUP_COLUMNS), _column(names, ("source",))
    if image is None or code is None:
        raise HemeError(
            f"'{path}' needs a column for the image ({', '.join(IMAGE_COLUMNS)}) and one for the "
            f"true class ({', '.join(CODE_COLUMNS)})."
        )
    images = _images_once(path, ((line, row[image]) for line, row in rows))
    cells = (
        TrueCell(
            _known(path, line, row[code]),
            "" if group is None else row[group],
            "" if source is None else row[source],
        )
        for line, row in rows
    )
    return dict(zip(images, cells, strict=True))


def _column(names: list[str], wanted: tuple[str, ...]) -> int | None:
    return next((names.index(w) for w in wanted if w in names), None)


def read_answers(predictions: Path, truth: Path) -> Answers:
    """Both tables joined by image, in the order of the predictions.

    Raises:
        HemeError: as the two readers, or no image stands in both tables.
    """
    table, cells = read_predictions(predictions), read_truth(truth)
    rows = [i for i, image in enumerate(table.images) if image in cells]
    if not rows:
        raise HemeError(
            f"No image stands in both '{predictions}' and '{truth}'.",
            "Name the images alike: one of the first is "
            f"'{table.images[0]}', of the second '{next(iter(cells))}'",
        )
    true = [cells[table.images[i]] for i in rows]
    sources = sorted({c.source for c in true if c.source})
    return Answers(
        codes=table.codes,
        probabilities=table.probabilities[rows],
        truth=tuple(c.code for c in true),
        groups=tuple(c.group or table.images[i] for c, i in zip(true, rows, strict=True)),
        grouped=any(c.group for c in true),
        title=f"Table {predictions.name} against {truth.name}",
        about={"predictions": predictions.name, "truth": truth.name, "sources": sources},
        notes=(*_unmatched(len(table.images), len(cells), len(rows)), *table.notes),
    )


def _unmatched(predicted: int, true: int, both: int) -> Iterator[str]:
    if predicted > both:
        yield f"{predicted - both} of {predicted} images have no truth and are left out."
    if true > both:
        yield f"{true - both} of {true} true images have no probabilities and are left out."


def oddities(probabilities: NDArray[np.float64]) -> Iterator[str]:
    """Sentences on rows that are no probabilities, or flattened ones."""
    away = np.abs(probabilities.sum(axis=1) - 1) > SUM_TOLERANCE
    if away.any():
        yield (
            f"{int(away.sum())} of {len(away)} rows do not sum to 1 (sums from "
            f"{probabilities.sum(axis=1).min():.3f} to {probabilities.sum(axis=1).max():.3f}). "
            "Figures that rest on the largest column hold, and AUC is of the values as given; "
            "ECE, NLL, reliability and coverage are of the rows divided by their sums."
        )
    elif is_softmax_of_sigmoids(probabilities):
        classes = probabilities.shape[1]
        yield (
            "These look like a softmax of sigmoids: in no row is the largest probability more "
            f"than e times the smallest, so none of {classes} classes can pass "
            f"{math.e / (classes - 1 + math.e):.3f}. Figures that rest on the largest column "
            "hold; ECE, NLL, reliability and thresholds say nothing about the network's confidence."
        )


def is_softmax_of_sigmoids(probabilities: NDArray[np.float64]) -> bool:
    """Whether the rows can be a softmax over values from 0 to 1.

    Such a softmax has ln(largest / smallest) <= 1 in every row; a network that has learned
    anything and is not flattened passes that on its first easy cell. With two classes or rows
    that do not sum to 1 it cannot be told.
    """
    sums = probabilities.sum(axis=1)
    if probabilities.shape[1] < 3 or np.any(np.abs(sums - 1) > SUM_TOLERANCE):
        return False
    widest = probabilities.max(axis=1) / np.maximum(probabilities.min(axis=1), 1e-12)
    return bool(np.all(widest <= math.e * RATIO_TOLERANCE))
