"""What the page shows, gathered in one place: the session, the goal, the cameras' newest news."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from heme_edge.cells import CELL_CLASSES, cell_class
from heme_edge.live.pause import Pause
from heme_edge.session import LogEntry, Session
from heme_edge.session.rows import COUNTED, MAP
from heme_edge.stop_rule import Goal
from heme_edge.web.clock import clock
from heme_edge.web.figures import figures
from heme_edge.web.live_picture import LivePicture
from heme_edge.web.uploads import Model, Uploads

NEWEST_DEEDS = 200


@dataclass(frozen=True)
class SourceNews:
    """The newest of one camera.

    Attributes:
        number, name: of the source.
        words: its scale, for people.
        frame: number of its newest analysed frame; -1 before the first.
        focus: 0..1.
        age_ms: of that frame when it was analysed, since its capture.
        not_used: why no cells were looked for in it, or empty.
        field: verdict of the newest scored field.
        in_view, counted: cells in it, and counted so far.
    """

    number: int
    name: str
    words: str
    frame: int = -1
    focus: float = 0.0
    age_ms: float = 0.0
    not_used: str = ""
    field: str = ""
    in_view: int = 0
    counted: int = 0


@dataclass
class Desk:
    """The page's view of a session; the server's threads read it, one analysis thread adds news.

    Attributes:
        session: open for writing.
        goal: when counting is done.
        pause: of the live session; None where the session is finished.
        model: what uploads are named with.
        news, pictures: of each camera, by its number.
        ended: whether the live session has ended.
        deeds: the newest entries of the log that are not of counting.
        version: number of the newest entry of the session's log that the figures follow.
    """

    session: Session
    goal: Goal = field(default_factory=Goal)
    pause: Pause | None = None
    model: Model = field(default_factory=Model)
    news: list[SourceNews] = field(default_factory=list)
    pictures: Sequence[LivePicture] = ()
    ended: bool = False
    deeds: deque[LogEntry] = field(default_factory=lambda: deque(maxlen=NEWEST_DEEDS))
    version: int = 0
    _busy: threading.Lock = field(default_factory=threading.Lock)
    _figures: dict[str, Any] = field(default_factory=dict)
    _told: bool = False

    def __post_init__(self) -> None:
        """Uploads wait for nothing of the session."""
        self.uploads = Uploads(self.model)

    def state(self) -> dict[str, Any]:
        """Everything that is shown at a glance, as JSON."""
        settings, signature = self.session.settings, self.session.signed()
        self.refresh()
        return {
            "title": self.session.folder.name,
            "live": self.pause is not None,
            "status": self._status(),
            "paused": self.pause is not None and self.pause.on,
            "losses": list(settings.accepted_losses),
            "classes": self._classes(),
            "vocabulary": [_class(one.code, one.name) for one in CELL_CLASSES],
            "sources": [asdict(news) for news in self.news],
            "signed": signature and {"initials": signature.initials, "time": clock(signature.time)},
            "version": self.version,
            "figures": self._figures,
        }

    def _classes(self) -> list[dict[str, Any]]:
        """The bundle's classes, and those that a person named besides."""
        said = {one.code: one.name for one in self.session.settings.classes}
        said |= {row["code"]: row["name"] for row in self._figures["classes"]}
        return [_class(code, name) for code, name in said.items()]

    def refresh(self) -> None:
        """Brings the figures up to date, and rests counting once when the goal is reached."""
        with self._busy:
            news = self.session.log(after=self.version)
            if not news:
                return
            self.deeds.extend(entry for entry in news if entry.kind not in (COUNTED, MAP))
            tally = self.session.tally()
            self._figures = figures(tally, self.goal)
            self.version = news[-1].seq
            if self.pause is not None and not self._told and self.goal.reached(tally):
                self._told = True
                self.pause.on, self.pause.why = True, "the goal is reached"

    def set_pause(self, on: bool) -> None:
        """Rests counting, or goes on; nothing for a finished session."""
        if self.pause is not None:
            self.pause.on, self.pause.why = on, ""

    def close(self) -> None:
        """Ends the threads of pictures, so that nobody waits for one; the session stays open."""
        for picture in self.pictures:
            picture.close()

    def _status(self) -> str:
        if self.pause is None:
            return "Finished session."
        if self.ended:
            return "The camera has ended; cells can still be corrected."
        if self.pause.on:
            return f"Paused{f': {self.pause.why}' if self.pause.why else ''}."
        return "Counting."


def _class(code: str, name: str) -> dict[str, Any]:
    known = cell_class(code)
    return {"code": code, "name": name, "lineage": known.lineage, "maturation": known.maturation}
