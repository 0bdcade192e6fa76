"""Whole slides offline: field after field, the best first, every cell once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace

from heme_edge.classify import Photo, Work, ahead, keep, record
from heme_edge.cli_support import note
from heme_edge.errors import SourceError
from heme_edge.frames.base import Frame
from heme_edge.frames.whole_slide import WholeSlide
from heme_edge.ledger import Places, Spot
from heme_edge.outputs import Kept, PhotoResult, corner_text
from heme_edge.results import NamedCell
from heme_edge.resume import Earlier

SLACK_UM = 3.0
"""Two fields may place a cell on their common border so far apart."""
FIELDS_AHEAD = 2
PLACE = ("slide_x_um", "slide_y_um", "radius_um")


@dataclass
class SlideReport:
    """What became of one slide, for run.json.

    Attributes:
        um_per_px, um_per_px_source: scale of its finest level.
        fields_with_tissue: fields that the overview found.
        fields_read: fields whose cells were named.
        passed_over: fields looked at so far that cannot be read, by verdict; it is looked ahead, so
            a slide that is left early may tell of a round more or less.
        counted: cells in the differential.
        enough: whether it ended because enough cells were counted.
    """

    slide: str
    um_per_px: float
    um_per_px_source: str
    fields_with_tissue: int
    fields_read: int = 0
    passed_over: dict[str, int] = field(default_factory=dict)
    counted: int = 0
    enough: bool = False


@dataclass
class _Reading:
    """One slide while it is read."""

    photo: Photo
    source: WholeSlide
    glass: float | None
    report: SlideReport
    ledger: Places[Spot]


def classify_slide(
    photo: Photo, um_per_px: float | None, max_cells: int, work: Work, earlier: Earlier
) -> None:
    """Names the cells of a slide until ``max_cells`` are counted (0: all of it).

    A slide that cannot be read is named on stderr, counted and skipped, as a photo is.

    Args:
        photo: the slide.
        um_per_px: scale of a slide that does not tell its own; None: such a slide is skipped.
        max_cells: counted cells after which it is left.
        work: where the results go.
        earlier: rows of an interrupted run, which are not read again.
    """
    done = {(r["slide_x_um"], r["slide_y_um"]) for r in earlier.photos if r["photo"] == photo.name}
    if photo.name in {slide["slide"] for slide in earlier.slides} or ("", "") in done:
        return
    try:
        source = WholeSlide(
            photo.path, um_per_px, wanted=lambda core_um: corner_text(core_um[:2]) not in done
        )
        with closing(source):
            reading = _begin(photo, source, earlier)
            _read_on(reading, max_cells, work)
    except SourceError as error:
        note(f"{error.message} {error.hint}".strip())
        problem = error.message.removeprefix(f"{photo.path} ").rstrip(".")
        record(work, [PhotoResult(photo.name, um_per_px or 0.0, problem=problem)])


def _begin(photo: Photo, source: WholeSlide, earlier: Earlier) -> _Reading:
    """The ledger and report of a slide, with what an interrupted run found there."""
    choice = source.choice
    report = SlideReport(
        photo.name, source.slide_um_per_px, source.scale_source, len(choice.candidates)
    )
    report.fields_read = sum(row["photo"] == photo.name for row in earlier.photos)
    ledger: Places[Spot] = Places()
    for row in earlier.cells:
        if row["photo"] == photo.name:
            x_um, y_um, radius_um = (float(row[key]) for key in PLACE)
            ledger.add(Spot(x_um, y_um, radius_um))
            report.counted += row["counted"] == "true"
    return _Reading(photo, source, choice.glass, report, ledger)


def _read_on(reading: _Reading, max_cells: int, work: Work) -> None:
    """Names field after field until there are enough cells, or no readable field is left.

    Raises:
        SourceError: the slide is damaged, or no field of it can be read.
    """
    report, source = reading.report, reading.source
    left = report.fields_with_tissue - report.fields_read
    work.more(left)
    for frame in _frames(source) if not _enough(report, max_cells) else ():
        named = work.namer.name_field(frame.image, source.um_per_px, reading.glass)
        own = _own_cells(reading, frame, named.cells)
        kept = keep(work, frame.image, named, [row for row, _ in own], source.um_per_px)
        cells = [cell for _, cell in own]
        report.fields_read += 1
        report.counted += sum(cell.counted for cell in cells)
        left -= 1
        record(work, [_result(reading, frame, cells, named.score.verdict, kept)])
        if _enough(report, max_cells):
            break
    report.enough = _enough(report, max_cells)
    report.passed_over = dict(source.choice.passed_over)
    work.more(-left)
    if not report.fields_read:
        why = ", ".join(f"{n} {verdict}" for verdict, n in sorted(report.passed_over.items()))
        raise SourceError(f"{reading.photo.path} has no field that can be read ({why}).")
    work.files.end_slide(asdict(report))


def _enough(report: SlideReport, max_cells: int) -> bool:
    return bool(max_cells) and report.counted >= max_cells


def _frames(source: WholeSlide) -> Iterator[Frame]:
    """The fields of a slide, read ahead in a thread."""
    with closing(ahead(lambda _: source.read(), itertools.count(), 1, FIELDS_AHEAD)) as frames:
        for _, frame in frames:
            if frame is None:
                return
            yield frame


def _own_cells(
    reading: _Reading, frame: Frame, named: Sequence[NamedCell]
) -> list[tuple[int, NamedCell]]:
    """Cells of a field's own part that no field before had, in px of the slide's finest level.

    Each comes with its place among the cells of the field.
    """
    place, source = frame.place, reading.source
    if place is None:
        return []
    scale = source.slide_um_per_px
    found = []
    for row, one in enumerate(named):
        x_um = place.x_um + one.cell.x_px * source.um_per_px
        y_um = place.y_um + one.cell.y_px * source.um_per_px
        radius_um = one.cell.radius_px * source.um_per_px
        spot = x_um, y_um, radius_um
        if _inside(place.core_um, x_um, y_um) and not reading.ledger.holds(*spot):
            cell = replace(
                one.cell, x_px=x_um / scale, y_px=y_um / scale, radius_px=radius_um / scale
            )
            found.append((row, replace(one, cell=cell)))
    for cell in (one.cell for _, one in found):  # rounded as in cells.csv, from which a run goes on
        x_um, y_um = round(cell.x_px * scale, 2), round(cell.y_px * scale, 2)
        reading.ledger.add(Spot(x_um, y_um, round(cell.radius_px * scale, 2)))
    return found


def _inside(core_um: tuple[float, float, float, float], x_um: float, y_um: float) -> bool:
    left, top, right, bottom = core_um
    return (
        left - SLACK_UM <= x_um <= right + SLACK_UM and top - SLACK_UM <= y_um <= bottom + SLACK_UM
    )


def _result(
    reading: _Reading, frame: Frame, cells: Sequence[NamedCell], verdict: str, kept: Kept | None
) -> PhotoResult:
    corner = None if frame.place is None else frame.place.core_um[:2]
    scale = reading.source.slide_um_per_px
    return PhotoResult(reading.photo.name, scale, cells, "", verdict, corner, kept)
