"""The stored crops through a bundle once more: how far it says the same of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np

from heme_edge.backends.base import Backend
from heme_edge.crops import CROP_UM
from heme_edge.session.crop import decode_crop
from heme_edge.session.rows import CellSummary
from heme_edge.session.store import Session

BATCH = 64


@dataclass
class Agreement:
    """What became of cells that were named once more.

    Attributes:
        cells: that were compared.
        same_code: how many have the same most probable class.
        largest_difference: of a probability of one class of one cell.
    """

    cells: int = 0
    same_code: int = 0
    largest_difference: float = 0.0

    def add(self, one: Agreement) -> None:
        """Adds others."""
        self.cells += one.cells
        self.same_code += one.same_code
        self.largest_difference = max(self.largest_difference, one.largest_difference)

    def record(self) -> dict[str, Any]:
        """For JSON."""
        share = round(self.same_code / self.cells, 4) if self.cells else None
        difference = round(self.largest_difference, 4)
        return asdict(self) | {"largest_difference": difference, "same_share": share}


def reclassify(session: Session, backend: Backend) -> dict[str, Any]:
    """Names every cell of a session again, from its crop.

    A crop was made JPEG after it was named, and of a cell that was named from several views only
    the surest one's crop is kept: both make small differences without any fault. An object wider
    than a crop was named from several crops, of which the middle one is kept; it is not compared.

    Args:
        session: open.
        backend: of a bundle with the session's classes.

    Raises:
        SessionError: a crop is damaged.
    """
    cells = session.cells(order="id")
    whole = [cell for cell in cells if (cell.radius_um or 0.0) <= CROP_UM / 2]
    one, several, without = Agreement(), Agreement(), 0
    for group in _groups(whole):
        crops = {cell.id: data for cell in group if (data := session.crop(cell.id))}
        without += len(group) - len(crops)
        kept = [cell for cell in group if cell.id in crops]
        images = [decode_crop(crops[cell.id]) for cell in kept]
        if images:
            said = backend.infer(np.stack(images))[0]
            for cell, row in zip(kept, said, strict=True):
                (one if cell.views == 1 else several).add(_compared(session, cell, row))
    together = Agreement()
    together.add(one)
    together.add(several)
    return {
        **together.record(),
        "named_from_one_view": one.record(),
        "named_from_several_views": several.record(),
        "wider_than_a_crop": len(cells) - len(whole),
        "without_crop": without,
    }


def _compared(session: Session, cell: CellSummary, said: Any) -> Agreement:
    before = session.probabilities(cell.id)
    same = int(np.argmax(before) == np.argmax(said))
    return Agreement(1, same, float(np.abs(before - said).max()))


def _groups(cells: Sequence[CellSummary]) -> Iterator[list[CellSummary]]:
    rest = iter(cells)
    while group := list(islice(rest, BATCH)):
        yield group
