"""What the log makes of the rows: corrections, duplicates, joined patches, the signature."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from heme_edge.cells import ARTIFACT_CODE, cell_class
from heme_edge.session.rows import (
    CORRECT,
    COUNTED,
    END,
    REOPEN,
    RESUMED,
    SIGN,
    UNDO,
    LogEntry,
    Signature,
)
from heme_edge.tally import ARTIFACT, NOT_IN_DIFFERENTIAL


def reason_of_corrected(code: str) -> str:
    """Why a cell that a person named is not in the differential; empty where it is.

    A person is never uncertain, and has looked at the cell: neither the threshold nor the border
    of a frame matters any more.
    """
    if code == ARTIFACT_CODE:
        return ARTIFACT
    return "" if cell_class(code).in_differential else NOT_IN_DIFFERENTIAL


@dataclass
class State:
    """Follows the log, entry by entry.

    Attributes:
        seq: newest entry that was taken in.
        gone: duplicates, and the cell that each is one with.
        active: corrections that were not undone: entry, cell and code, oldest first.
        left_over: cells that were seen and never counted, by reason, of the newest run's end.
        ended: whether nothing was counted since the newest end.
        runs: how often the session was begun or gone on with.
        signature: the newest sign-off, where it holds.
    """

    seq: int = 0
    gone: dict[int, int] = field(default_factory=dict)
    active: list[tuple[int, int, str]] = field(default_factory=list)
    left_over: dict[str, int] = field(default_factory=dict)
    ended: bool = False
    runs: int = 1
    signature: Signature | None = None
    _joins: list[tuple[int, int, int, int, float, float]] = field(default_factory=list)

    def take(self, entry: LogEntry) -> None:
        """Takes in the next entry."""
        self.seq = entry.seq
        body = entry.body
        if entry.kind == COUNTED:
            self._take_counted(entry)
        elif entry.kind == CORRECT:
            self.active.append((entry.seq, int(body["cell"]), str(body["code"])))
        elif entry.kind == UNDO:
            self.active = [one for one in self.active if one[0] != body["of"]]
        elif entry.kind == SIGN:
            self.signature = Signature(entry.seq, entry.time, str(body["initials"]))
        elif entry.kind == REOPEN:
            self.signature = None
        elif entry.kind == END:
            self.ended, self.left_over = True, dict(body["left_over"])
        elif entry.kind == RESUMED:
            self.ended, self.left_over, self.runs = False, {}, self.runs + 1

    def corrected(self) -> dict[int, str]:
        """Codes that persons gave, by cell; of a duplicate, that of the cell it is one with."""
        return {self.now(cell): code for _seq, cell, code in self.active}

    def now(self, cell: int) -> int:
        """The cell that a cell is one with, or itself."""
        for _ in range(len(self.gone)):
            if cell not in self.gone:
                break
            cell = self.gone[cell]
        return cell

    def place(
        self, entry: int, source_id: int, patch: int, x_um: float, y_um: float
    ) -> tuple[int, float, float]:
        """Where a place lies now that was written with a log entry: patch, x and y in µm."""
        for seq, source, from_patch, into, dx_um, dy_um in self._joins:
            if seq > entry and (source, from_patch) == (source_id, patch):
                patch, x_um, y_um = into, x_um + dx_um, y_um + dy_um
        return patch, x_um, y_um

    def joined(self) -> Iterator[tuple[int, int]]:
        """Source and number of patches that are no more."""
        return ((source, patch) for _seq, source, patch, *_ in self._joins)

    def _take_counted(self, entry: LogEntry) -> None:
        body = entry.body
        for source, patch, into, dx_um, dy_um in body["joins"]:
            self._joins.append((entry.seq, source, patch, into, dx_um, dy_um))
        for gone, of in body["duplicates"]:
            self.gone[gone] = of
        if body["cells"]["rows"] or body["duplicates"]:
            self.signature, self.ended = None, False
