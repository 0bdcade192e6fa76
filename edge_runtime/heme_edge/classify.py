"""Photos offline: folders of fields, or of single-cell crops, to a differential."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from heme_edge.crops import CROP_PX, CROP_UM, CROP_UM_PER_PX, Image, centre_crop, cut_crops
from heme_edge.errors import HemeError, OpticsError, PhotoError
from heme_edge.field_score import is_lit
from heme_edge.frames.pyramid import SLIDE_SUFFIXES, is_slide
from heme_edge.naming import NamedField, Namer, best_two
from heme_edge.optics.session import FIRST_FIELDS
from heme_edge.outputs import Kept, PhotoResult, ResultFiles
from heme_edge.photos import SUFFIXES, find_photos, read_photo
from heme_edge.results import DetectedCell, NamedCell
from heme_edge.session.photos import PhotoRecorder
from heme_edge.tally import Tally, reason_not_counted

MIN_CELL_UM = 4.0
BATCH = 256
FIELDS_AHEAD, GROUPS_AHEAD = 2, 2
"""Photos, or batches of crops, decoded ahead: a photo may be 100 megapixels."""
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Photo:
    """A file to read, and the name it has in the results; ``slide``: it is a whole slide."""

    path: Path
    name: str
    slide: bool = False


@dataclass(frozen=True)
class _CellPhoto:
    """A single-cell image as a crop, and the middle of the image it came from, px."""

    crop: Image
    x_px: float
    y_px: float


@dataclass
class Counts:
    """What a run has done so far."""

    read: int = 0
    skipped: int = 0
    cells: int = 0


@dataclass(frozen=True)
class Work:
    """What one run writes to and reports through.

    Attributes:
        namer: names cells; belongs to the calling thread.
        files: where rows go.
        tally: counts of the differential.
        counts: counts of the run.
        advance: called after each photo with the number of photos done since the last call.
        more: called with the number of fields that a slide adds to the work (or takes off it).
        session: where they go too, or None.
    """

    namer: Namer
    files: ResultFiles
    tally: Tally
    counts: Counts
    advance: Callable[[int], None]
    more: Callable[[int], None] = lambda _: None
    session: PhotoRecorder | None = None


def collect(paths: Sequence[Path]) -> list[Photo]:
    """The photos and slides of files and folders, each named relative to the folder it is in.

    Where two folders would give two photos one name, all names keep their folder.

    Raises:
        HemeError: a path does not exist, or there is no photo at all.
    """
    found: list[tuple[Path, Path]] = []
    for path in paths:
        if path.is_dir():
            found += [
                (p, p.relative_to(path)) for p in find_photos(path, SUFFIXES | SLIDE_SUFFIXES)
            ]
        elif path.exists():
            found.append((path, Path(path.name)))
        else:
            raise HemeError(f"'{path}' does not exist.")
    if not found:
        where = ", ".join(f"'{p}'" for p in paths)
        raise HemeError(
            f"There are no photos in {where}.",
            "Photos are .jpg, .png, .tif, .bmp or .webp, slides .svs, .ndpi, .scn or .mrxs",
        )
    clash = len({name for _, name in found}) < len(found)
    return [Photo(path, str(path if clash else name), is_slide(path)) for path, name in found]


def first_fields(photos: Sequence[Photo]) -> list[Image]:
    """The first photos (8 at most) with light and contrast, of the size of the first of them.

    Where there is no such photo, the first that can be decoded; none where none can be.
    """
    fields: list[Image] = []
    spare: list[Image] = []
    for photo in photos:
        with suppress(PhotoError):
            image = read_photo(photo.path)
            spare = spare or [image]
            if is_lit(image) and image.shape == (fields or [image])[0].shape:
                fields.append(image)
        if len(fields) == FIRST_FIELDS:
            break
    return fields or spare


def classify_fields(
    photos: Sequence[Photo],
    scale: Callable[[int], float],
    work: Work,
    correct: Callable[[Image], Image] | None = None,
) -> None:
    """Detects and names the cells of each photo; a bad one is named, counted and skipped.

    Args:
        photos: what to read.
        scale: µm/px of a photo of a width in px, as the sensor recorded it.
        work: where results go.
        correct: takes vignette and cast away before a photo is turned; None leaves them.
    """

    def read(photo: Photo) -> tuple[Image, float] | PhotoError:
        return _attempt(partial(_read_field, photo, scale, correct))

    for photo, image in ahead(read, photos, 1, FIELDS_AHEAD):
        if isinstance(image, PhotoError):
            result = PhotoResult(photo.name, 0.0, problem=image.message)
        else:
            field, um_per_px = image
            named = work.namer.name_field(field, um_per_px)
            everything = range(len(named.cells))
            result = PhotoResult(
                photo.name, um_per_px, named.cells, field=named.score.verdict,
                kept=keep(work, field, named, everything, um_per_px),
            )  # fmt: skip
        record(work, [result])


def keep(
    work: Work, field: Image, named: NamedField, which: Sequence[int], um_per_px: float
) -> Kept | None:
    """What a session keeps of cells of a field; None without a session."""
    if work.session is None:
        return None
    crops = cut_crops(field, [named.cells[k].cell for k in which], um_per_px)
    height, width = (side * um_per_px for side in field.shape[:2])
    return Kept(named.probabilities[list(which)], crops, width, height)


def _read_field(
    photo: Photo, scale: Callable[[int], float], correct: Callable[[Image], Image] | None
) -> tuple[Image, float]:
    widths: list[int] = []

    def corrected(image: Image) -> Image:
        widths.append(image.shape[1])
        return correct(image) if correct else image

    try:
        image = read_photo(photo.path, corrected)
    except OpticsError as error:
        raise PhotoError(f"does not fit the optics profile: {error.message}") from error
    um_per_px = scale(widths[0])
    height, width = image.shape[:2]
    if min(height, width) * um_per_px < CROP_UM:
        raise PhotoError(f"is {width}x{height} px, smaller than one crop of {CROP_UM:.0f} µm")
    return image, um_per_px


def classify_crops(photos: Sequence[Photo], um_per_px: float, work: Work) -> None:
    """Names single-cell images in batches, decoding ahead of the network."""
    groups = [photos[at : at + BATCH] for at in range(0, len(photos), BATCH)]

    def read(group: Sequence[Photo]) -> list[_CellPhoto | PhotoError]:
        return [_attempt(partial(_read_crop, photo, um_per_px)) for photo in group]

    for group, images in ahead(read, groups, 1, GROUPS_AHEAD):
        crops = [i.crop for i in images if not isinstance(i, PhotoError)]
        if crops:
            said = work.namer.infer_crops(np.stack(crops))
            rows = zip(best_two(*said, work.namer.bundle.codes), said[0], strict=True)
        results = []
        for photo, image in zip(group, images, strict=True):
            if isinstance(image, PhotoError):
                results.append(PhotoResult(photo.name, um_per_px, problem=image.message))
                continue
            name, probabilities = next(rows)
            reason = reason_not_counted(name, work.namer.bundle.info.reject_threshold)
            middle = DetectedCell(image.x_px, image.y_px, math.nan, 1.0)
            cell = NamedCell(middle, name, reason)
            kept = Kept(probabilities[None], image.crop[None], CROP_UM, CROP_UM)
            results.append(PhotoResult(photo.name, um_per_px, [cell], kept=kept))
        record(work, results)


def _read_crop(photo: Photo, um_per_px: float) -> _CellPhoto:
    image = read_photo(photo.path)
    height, width = image.shape[:2]
    if min(height, width) * um_per_px < MIN_CELL_UM:
        raise PhotoError(f"is {width}x{height} px, too small for a cell at {um_per_px:g} µm/px")
    if (height, width, um_per_px) != (CROP_PX, CROP_PX, CROP_UM_PER_PX):
        image = centre_crop(image, um_per_px)
    return _CellPhoto(image, (width - 1) / 2, (height - 1) / 2)


def _attempt(read: Callable[[], T]) -> T | PhotoError:
    try:
        return read()
    except PhotoError as error:
        return error


def record(work: Work, results: Sequence[PhotoResult]) -> None:
    """Writes, then counts: what could not be written is not counted.

    Raises:
        OutputError, SessionError: the disk is full, or the folder is gone.
    """
    if work.session is not None:
        work.session.add(results)
    work.files.add(results)
    for result in results:
        work.tally.add(result.cells)
        work.counts.cells += len(result.cells)
        work.counts.skipped += bool(result.problem)
        work.counts.read += not result.problem
    work.advance(len(results))


def ahead(
    function: Callable[[T], R], items: Iterable[T], workers: int, ahead: int
) -> Generator[tuple[T, R], None, None]:
    """``(item, function(item))`` in order, computed a bounded distance ahead in threads."""
    source = iter(items)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="reader")
    try:
        waiting: deque[tuple[T, Future[R]]] = deque(
            (item, pool.submit(function, item)) for item in islice(source, ahead)
        )
        while waiting:
            item, future = waiting.popleft()
            result = future.result()
            waiting.extend((i, pool.submit(function, i)) for i in islice(source, 1))
            yield item, result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
