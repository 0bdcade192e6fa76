"""The page's server over a real session, asked over a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from heme_edge.stop_rule import Goal, StopRule
from heme_edge.web.address import Address
from heme_edge.web.desk import Desk
from tests.edge_runtime.page_kit import ask, make_session, served

CELLS = 60


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(make_session(tmp_path / "smear-12", CELLS), Goal(500, StopRule("M1", 20.0)))


@pytest.fixture
def page(desk: Desk) -> Iterator[Address]:
    with served(desk) as address:
        yield address


def test_state_is_the_sessions(page: Address, desk: Desk) -> None:
    status, state = ask(page, "/api/state")
    assert status == 200
    tally = desk.session.tally()
    assert state["figures"]["total"] == tally.total
    counts = {row["code"]: row["count"] for row in state["figures"]["classes"]}
    assert counts == {row.code: row.count for row in tally.rows()}
    assert state["title"] == "smear-12"
    assert not state["live"]
    assert state["signed"] is None
    assert state["figures"]["goal"]["rule"]["side"] == "open"
    lineages = sum(row["count"] for row in state["figures"]["lineages"])
    assert lineages == tally.total


def test_cells_come_least_certain_first_and_filtered(page: Address) -> None:
    cells = ask(page, "/api/cells?limit=500")[1]["cells"]
    assert len(cells) == CELLS
    assert [c["probability"] for c in cells] == sorted(c["probability"] for c in cells)
    code = cells[0]["code"]
    only = ask(page, f"/api/cells?code={code}")[1]["cells"]
    assert only == [c for c in cells if c["code"] == code]
    uncertain = ask(page, "/api/cells?reason=uncertain&limit=2")[1]
    assert len(uncertain["cells"]) == 2
    assert uncertain["more"]


def test_a_cell_and_its_crop(page: Address) -> None:
    status, cell = ask(page, "/api/cell/3")
    assert status == 200
    assert sum(p for _, p in cell["probabilities"]) == pytest.approx(1, abs=1e-3)
    assert ask(page, "/crop/3.jpg")[1][:2] == b"\xff\xd8"
    assert ask(page, "/crop/999.jpg")[0] == 404
    assert ask(page, "/api/cell/999")[0] == 400


def test_corrections_undo_and_signature_change_tally_and_log(page: Address, desk: Desk) -> None:
    before = desk.session.tally().record()
    cell = ask(page, "/api/cells?reason=uncertain&limit=1")[1]["cells"][0]
    assert ask(page, "/api/correct", {"id": cell["id"], "code": "L4"})[0] == 200
    state = ask(page, "/api/state")[1]
    assert state["figures"]["total"] == before["counted"] + 1
    assert "L4" in [one["code"] for one in state["classes"]], "not a class of the bundle"
    assert "re-classified as L4" in ask(page, "/api/log")[1]["entries"][0]["words"]
    assert ask(page, "/api/undo", {})[0] == 200
    assert desk.session.tally().record() == before
    assert ask(page, "/api/undo", {})[1]["error"] == "There is nothing to undo."
    assert ask(page, "/api/sign", {"initials": "AB"})[0] == 200
    status, refused = ask(page, "/api/correct", {"id": 1, "code": "L2"})
    assert (status, "signed by AB" in refused["error"]) == (400, True)
    assert ask(page, "/api/state")[1]["signed"]["initials"] == "AB"
    assert ask(page, "/api/reopen", {})[0] == 200
    assert ask(page, "/api/correct", {"id": 1, "code": "L2"})[0] == 200


def test_exports(page: Address, desk: Desk) -> None:
    rows = ask(page, "/export/cells.csv")[1].decode().splitlines()
    assert len(rows) == 1 + CELLS
    differential = ask(page, "/export/differential.csv")[1].decode()
    assert differential.startswith("code,name,count,percent,low95,high95")
    told = ask(page, "/export/session.json")[1]
    assert told["notice"].startswith("Research use only")
    assert told["log"][-1]["sha256"] == desk.session.log()[-1].sha256


def test_map_shows_frames_and_cells(page: Address) -> None:
    (patch,) = ask(page, "/api/map")[1]["patches"]
    assert len(patch["frames"]) == 4
    assert len(patch["cells"]) == CELLS
    assert patch["area"][2] == pytest.approx(770)
