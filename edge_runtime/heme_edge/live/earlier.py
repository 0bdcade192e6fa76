"""A session that is gone on with: its cells and its map, as live has them."""

from __future__ import annotations

import numpy as np

from heme_edge.ledger import Entry, View
from heme_edge.live.analyser import CountedCell
from heme_edge.live.camera import Camera
from heme_edge.live.placing import EarlierMap
from heme_edge.naming import best_two
from heme_edge.session import CellSummary, Session
from heme_edge.stage import keyframe_again


def take_up(camera: Camera, session: Session) -> None:
    """Makes a camera know the cells and the places that its source had in a session."""
    cells = [cell for cell in session.cells(order="id") if cell.source_id == camera.number]
    counted = [_counted(session, cell) for cell in cells]
    camera.analyser.take_up(counted, session.duplicates(camera.number))
    camera.earlier = _map(session, camera.number)


def _counted(session: Session, cell: CellSummary) -> CountedCell:
    """A cell as the model named it: what a person said of it stays in the session."""
    said, uncertain = session.probabilities(cell.id), np.float32(cell.disagreement)
    view = View(cell.frame, cell.x_px, cell.y_px, said, cell.disagreement)
    entry = Entry(
        cell.slide_x_um, cell.slide_y_um, cell.radius_um or 0.0, kind=cell.kind, id=cell.id,
        patch=cell.patch, views=[view],
    )  # fmt: skip
    name = best_two(said[None], np.array([uncertain]), session.settings.codes)[0]
    return CountedCell(entry, name, cell.reason_named)


def _map(session: Session, source_id: int) -> EarlierMap:
    """The map, and a number that no patch of it has had."""
    keyframes = [
        keyframe_again(key.levels, (key.x, key.y), key.patch, key.sharp)
        for key in session.keyframes(source_id)
    ]
    return EarlierMap(tuple(keyframes), session.newest(source_id)[1] + 1)
