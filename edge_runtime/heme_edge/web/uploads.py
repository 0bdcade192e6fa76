"""Photos and single cells sent from the page: named as ``classify`` does it, and not kept."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from heme_edge.backends import open_backend
from heme_edge.bundle import load_bundle
from heme_edge.classify import MIN_CELL_UM
from heme_edge.cli_support import note
from heme_edge.crops import CROP_UM, Image, centre_crop
from heme_edge.detect import open_detector
from heme_edge.detect.working_scale import shrunk
from heme_edge.draw import COUNTED, LEFT_OUT, UNSURE, ShownCell, annotate
from heme_edge.errors import HemeError, OpticsError, PhotoError
from heme_edge.naming import Namer
from heme_edge.optics.scale import LEAST_UM_PER_PX, MOST_UM_PER_PX, scale_from_red_cells
from heme_edge.optics.session import SessionScale, assumed_scale
from heme_edge.photos import decode_photo
from heme_edge.results import NamedCell
from heme_edge.tally import UNCERTAIN, reason_not_counted

MOST_WAITING = 4
SHOWN_PX = 1600
"""The longer side of the picture that is sent back."""


@dataclass(frozen=True)
class Model:
    """What uploads are named with; as in ``live``."""

    bundle: Path | None = None
    backend: str = "auto"
    precision: str = "auto"


@dataclass(frozen=True)
class Upload:
    """A file from the page.

    Attributes:
        data: its bytes.
        crop: it shows a single cell.
        um_per_px: its scale, or None: measured on red cells; of a single cell 0.25.
    """

    data: bytes
    crop: bool
    um_per_px: float | None


class BusyError(HemeError):
    """More is being named than is waited for."""


class Uploads:
    """Names uploads one after another in a thread of its own, with a model of its own.

    The live session's model belongs to its own thread; this one is loaded at the first upload.

    Args:
        model: what to name with.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._namer: Namer | None = None
        self._thread = ThreadPoolExecutor(1, "upload")
        self._waiting = 0

    async def name(self, upload: Upload) -> dict[str, Any]:
        """The cells of an upload, as JSON.

        Raises:
            HemeError: it is no picture, its scale cannot be told, or too many wait.
        """
        import asyncio

        if self._waiting >= MOST_WAITING:
            raise BusyError("Other photos are being named.", "again in a moment")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._run, upload)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Waits for what is being named; the rest is dropped."""
        self._thread.shutdown(cancel_futures=True)
        if self._namer is not None:
            self._namer.backend.close()

    def _run(self, upload: Upload) -> dict[str, Any]:
        image = _decoded(upload.data)
        namer = self._opened()
        found = _crop(image, upload, namer) if upload.crop else _field(image, upload, namer)
        return {**found, "bundle": namer.bundle.info.name}

    def _opened(self) -> Namer:
        if self._namer is None:
            bundle = load_bundle(self._model.bundle)
            backend = open_backend(bundle, self._model.backend, self._model.precision, say=note)
            self._namer = Namer(bundle, backend, open_detector(bundle=bundle))
        return self._namer


def _decoded(data: bytes) -> Image:
    try:
        return decode_photo(data)
    except PhotoError as error:
        raise PhotoError(f"The file {error.message}.", "a JPEG, PNG or TIFF photo") from error


def _crop(image: Image, upload: Upload, namer: Namer) -> dict[str, Any]:
    scale = _given(upload.um_per_px) or assumed_scale()
    if min(image.shape[:2]) * scale.um_per_px < MIN_CELL_UM:
        raise PhotoError("The picture is too small for a cell.", "another µm per pixel")
    name = namer.name_crops(centre_crop(image, scale.um_per_px)[None])[0]
    reason = reason_not_counted(name, namer.bundle.info.reject_threshold)
    return _answer([{**asdict(name), "reason": reason}], scale, "", "")


def _field(image: Image, upload: Upload, namer: Namer) -> dict[str, Any]:
    scale = _given(upload.um_per_px) or _measured(image)
    if min(image.shape[:2]) * scale.um_per_px < CROP_UM:
        raise PhotoError(f"The photo is smaller than {CROP_UM:.0f} µm.", "the kind 'single cell'")
    named = namer.name_field(image, scale.um_per_px)
    cells = [{**asdict(cell.name), "reason": cell.reason} for cell in named.cells]
    return _answer(cells, scale, named.score.verdict, _drawn(image, named.cells, namer))


def _given(um_per_px: float | None) -> SessionScale | None:
    if um_per_px is None:
        return None
    if not (math.isfinite(um_per_px) and LEAST_UM_PER_PX <= um_per_px <= MOST_UM_PER_PX):
        raise OpticsError(
            f"{um_per_px:g} is no scale.", f"{LEAST_UM_PER_PX:g} to {MOST_UM_PER_PX:g} µm per pixel"
        )
    return SessionScale(um_per_px, "given")


def _measured(image: Image) -> SessionScale:
    try:
        scale = scale_from_red_cells([image])
    except OpticsError as error:
        raise OpticsError(
            f"The scale cannot be told from the photo: {error.message}", "the field 'µm per pixel'"
        ) from error
    return SessionScale(
        round(scale.um_per_px, 4), scale.source, scale.low95, scale.high95, scale.cells
    )


def _drawn(image: Image, cells: Sequence[NamedCell], namer: Namer) -> str:
    """JPEG in base64."""
    import cv2

    shown = [
        ShownCell(c.cell.x_px, c.cell.y_px, c.cell.radius_px, c.name,
                  {"": COUNTED, UNCERTAIN: UNSURE}.get(c.reason, LEFT_OUT))
        for c in cells
    ]  # fmt: skip
    drawn = shrunk(annotate(image, shown, losses=namer.bundle.accepted_losses), SHOWN_PX)
    return base64.b64encode(cv2.imencode(".jpg", drawn[..., ::-1])[1].tobytes()).decode()


def _answer(
    cells: list[dict[str, Any]], scale: SessionScale, field: str, picture: str
) -> dict[str, Any]:
    counted = sum(not cell["reason"] for cell in cells)
    return {
        "cells": cells, "counted": counted, "scale": scale.words, "field": field,
        "picture": picture,
    }  # fmt: skip
