"""The truth file: what is really on the simulated slide and in each frame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from heme_edge.errors import SourceError
from heme_edge.sim.camera import axes
from heme_edge.sim.path import Pose
from heme_edge.sim.slide import SlideCell

PLATELET = "PL"


class TruthFile:
    """JSONL, written and flushed line by line.

    First one line per cell of the slide, platelets included::

        {"cell": 0, "x_um": 512.2, "y_um": 80.4, "code": "M6", "radius_um": 6.4}

    then one per captured frame, dropped ones included, with the nucleated cells whose centre is
    in the view::

        {"frame": 0, "stage_x_um": 0.0, "stage_y_um": 0.0, "sharp": true, "blur_um": 0.0,
         "angle_deg": 0.0, "cells": [{"id": 0, "x_px": 100.5, "y_px": 60.1}]}

    ``stage_x_um``, ``stage_y_um`` are the slide position of the centre of the view's first (top
    left) pixel, so ``x_um = stage_x_um + x_px * um_per_px`` where the camera is not turned;
    ``angle_deg`` is how far it is, clockwise. ``sharp`` is whether the frame is in focus,
    ``blur_um`` the sigma of its defocus.

    Args:
        path: the file; an older one is replaced.
        cells: of the slide.
        view: width and height of a frame in px.
        um_per_px: scale of a frame.

    Raises:
        SourceError: the file cannot be written.
    """

    def __init__(
        self, path: Path, cells: tuple[SlideCell, ...], view: tuple[int, int], um_per_px: float
    ) -> None:
        try:
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise SourceError(
                f"The truth file {path} cannot be written ({error.strerror}).",
                "Give --sim-truth a file in a folder that exists and may be written to.",
            ) from error
        nucleated = [cell for cell in cells if cell.code != PLATELET]
        self._ids = np.array([cell.id for cell in nucleated], np.int64)
        self._places_um = np.array([(c.x_um, c.y_um) for c in nucleated]).reshape(-1, 2)
        self._limit_px = np.array(view) - 0.5
        self._um_per_px = um_per_px
        for cell in cells:
            self._write(_cell_line(cell))

    def frame(self, number: int, pose: Pose) -> None:
        """Writes one frame's line."""
        away = self._places_um - (pose.x_um, pose.y_um)
        pixels = away @ axes(pose.angle_deg).T / self._um_per_px
        inside = ((pixels >= -0.5) & (pixels < self._limit_px)).all(1)
        cells = [
            {"id": int(i), "x_px": round(float(x), 2), "y_px": round(float(y), 2)}
            for i, (x, y) in zip(self._ids[inside], pixels[inside], strict=True)
        ]
        stage = {"stage_x_um": round(pose.x_um, 3), "stage_y_um": round(pose.y_um, 3)}
        focus = {"sharp": pose.sharp, "blur_um": round(pose.blur_um, 3)}
        self._write(
            {"frame": number, **stage, **focus, "angle_deg": pose.angle_deg, "cells": cells}
        )

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


def _cell_line(cell: SlideCell) -> dict[str, Any]:
    return {
        "cell": cell.id,
        "x_um": round(cell.x_um, 3),
        "y_um": round(cell.y_um, 3),
        "code": cell.code,
        "radius_um": round(cell.radius_um, 2),
    }
