"""What a session says while it goes on: JSON lines, or a status line and an annotated picture."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from heme_edge.crops import Image
from heme_edge.draw import annotate
from heme_edge.frames import is_simulated
from heme_edge.ledger import Merged
from heme_edge.live.analyser import Analysed, CountedCell
from heme_edge.live.camera import Camera
from heme_edge.live.request import Request, picture_file
from heme_edge.notices import notice
from heme_edge.temperature import Thermometer
from heme_edge.writing import write_whole

PICTURE_EVERY_S = 1.0


class Show(Protocol):
    """Says what happens in a session; used by one thread."""

    def begin(self, cameras: Sequence[Camera]) -> None:
        """Before the first frame."""
        ...

    def frame(self, camera: Camera, analysed: Analysed, age_ms: float) -> None:
        """After each frame."""
        ...

    def end(self, camera: Camera, counted: Sequence[CountedCell]) -> None:
        """At the end, with the cells that are counted then."""
        ...


class JsonLines:
    """JSON lines on stdout: one for each frame, one for each cell when it is counted.

    Args:
        losses: the bundle's accepted losses.
        thermometer: of the board, told every five seconds.
    """

    def __init__(self, losses: Sequence[str], thermometer: Thermometer) -> None:
        self._losses, self._thermometer = losses, thermometer
        self._several = False
        self._started_s = time.monotonic()

    def begin(self, cameras: Sequence[Camera]) -> None:
        """Says scale and notice on stderr."""
        self._several = len(cameras) > 1
        for camera in cameras:
            of = f" of {camera.source.name}" if self._several else ""
            print(f"Scale{of}: {camera.scale.words}.", file=sys.stderr)
        print(notice(self._losses), file=sys.stderr)

    def frame(self, camera: Camera, analysed: Analysed, age_ms: float) -> None:
        """The frame, then what was counted, then what turned out to be one cell."""
        frame = analysed.placed.frame
        line: dict[str, Any] = {
            "frame": frame.index,
            "time_s": round(frame.captured_s - self._started_s, 4),
            "age_ms": round(age_ms, 1),
            "cells": [
                {
                    "x_px": round(cell.x_px, 1),
                    "y_px": round(cell.y_px, 1),
                    "code": cell.name and cell.name.code,
                    "probability": cell.name and round(cell.name.probability, 4),
                }
                for cell in analysed.cells
            ],
            "field": analysed.field,
            "focus": round(analysed.placed.focus, 3),
        }
        if analysed.not_used:
            line["not_used"] = analysed.not_used
        if heat := self._thermometer.look():
            line["temperature_c"] = heat
        self._print(camera, line)
        self.end(camera, analysed.counted)
        for merge in analysed.merged:
            self._merge(camera, merge)

    def end(self, camera: Camera, counted: Sequence[CountedCell]) -> None:
        """A line for each counted cell."""
        for cell in counted:
            self._print(camera, _cell_line(cell))
        sys.stdout.flush()

    def _merge(self, camera: Camera, merge: Merged) -> None:
        if merge.taken_back:
            self._print(camera, {"duplicate": {"id": merge.gone.id, "of": merge.into.id}})

    def _print(self, camera: Camera, line: dict[str, Any]) -> None:
        if self._several:
            line["source_id"] = camera.number
        print(json.dumps(line), flush=True)


def _cell_line(cell: CountedCell) -> dict[str, Any]:
    entry, view = cell.entry, cell.entry.best_view
    row = {
        "id": entry.id,
        "frame": view.frame,
        "x_px": round(view.x_px, 1),
        "y_px": round(view.y_px, 1),
        "slide_x_um": round(entry.x_um, 2),
        "slide_y_um": round(entry.y_um, 2),
        "code": cell.name.code,
        "probability": round(cell.name.probability, 4),
    }
    return {"cell": row, "patch": entry.patch, "reason": cell.reason}


class Pictures:
    """A status line, and the annotated frame of each source in a file, about once a second.

    Raises:
        HemeError: the files would be no pictures.
    """

    def __init__(
        self, request: Request, losses: Sequence[str], thermometer: Thermometer
    ) -> None:  # fmt: skip
        self._losses, self._thermometer = losses, thermometer
        self._files = [picture_file(request, number) for number in range(len(request.cameras))]
        self._next_s = dict.fromkeys(range(len(self._files)), 0.0)
        self._shown: dict[int, Analysed] = {}
        self._failed: set[int] = set()

    def begin(self, cameras: Sequence[Camera]) -> None:
        """Says what is looked at, its scale, and where the picture is."""
        self._files[0].parent.mkdir(parents=True, exist_ok=True)
        for camera in cameras:
            print(f"{camera.source.name}. Scale: {camera.scale.words}.")
            print(f"The annotated frame is in {self._files[camera.number]}. Ctrl-C ends.")
        print(notice(self._losses), flush=True)

    def frame(self, camera: Camera, analysed: Analysed, age_ms: float) -> None:
        """Writes the picture and says how it goes, where the last time is long enough ago."""
        self._shown[camera.number] = analysed
        if time.monotonic() < self._next_s[camera.number]:
            return
        self._next_s[camera.number] = time.monotonic() + PICTURE_EVERY_S
        self._write(camera)
        why = f", not used: {analysed.not_used}" if analysed.not_used else ""
        heat = "".join(f", {name} {c:.0f} °C" for name, c in self._thermometer.look().items())
        print(
            f"frame {analysed.placed.frame.index}: {len(analysed.cells)} cells in view, "
            f"{camera.analyser.cells_counted} counted, {age_ms:.0f} ms old{heat}{why}",
            flush=True,
        )

    def end(self, camera: Camera, counted: Sequence[CountedCell]) -> None:
        """Writes the last frame, however short ago the one before was written."""
        if camera.number in self._shown:
            self._write(camera)
            print(f"The last annotated frame is in {self._files[camera.number]}")

    def _write(self, camera: Camera) -> None:
        path, number = self._files[camera.number], camera.number
        try:
            write_whole(path, self._picture(camera, self._shown[number], path))
        except OSError as error:  # a full disk must not end the counting; said once
            if number not in self._failed:
                print(f"The picture {path} cannot be written: {error}.", file=sys.stderr)
            self._failed.add(number)

    def _picture(self, camera: Camera, analysed: Analysed, path: Path) -> bytes:
        import cv2

        image = annotated(camera, analysed, self._losses)
        return cv2.imencode(path.suffix.lower(), image[..., ::-1])[1].tobytes()


def annotated(camera: Camera, analysed: Analysed, losses: Sequence[str]) -> Image:
    """A frame as it is shown to people, RGB; see `annotate`."""
    simulated = "SIMULATED SMEAR." if is_simulated(camera.source) else ""
    notes = f"{simulated} {camera.scale.words}.".replace("µ", "u")
    placed = analysed.placed
    return annotate(placed.frame.image, analysed.cells, notes, losses, placed.focus)
