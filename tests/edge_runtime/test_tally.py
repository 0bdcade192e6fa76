import pytest

from heme_edge.results import CellName, DetectedCell, NamedCell
from heme_edge.tally import Tally, reason_not_counted, wilson


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [
        (25, 500, 0.0341, 0.0728),
        (0, 500, 0.0, 0.00763),
        (500, 500, 0.99237, 1.0),
        (1, 2, 0.0945, 0.9055),
    ],
)
def test_wilson_against_published_values(count: int, total: int, low: float, high: float) -> None:
    assert wilson(count, total) == pytest.approx((low, high), abs=5e-4)


def test_wilson_against_scipy() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy, the oracle, comes with [dev]")
    for count, total in [(0, 1), (3, 17), (25, 500), (499, 500), (500, 500)]:
        interval = stats.binomtest(count, total).proportion_ci(method="wilson")
        assert wilson(count, total) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_nothing_counted_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def name(code: str, probability: float = 0.9) -> CellName:
    return CellName(code, probability, "M2", 0.05, 0.0)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (name("M1"), ""),
        (name("M1", 0.3), "uncertain"),
        (name("U1"), "artifact"),
        (name("PL"), "not-in-differential"),
    ],
)
def test_reasons(cell: CellName, reason: str) -> None:
    assert reason_not_counted(cell, 0.5) == reason


def test_percentages_are_of_counted_cells() -> None:
    tally = Tally({"M1": "myeloid blast", "M2": "promyelocyte", "PL": "platelet"})
    spot = DetectedCell(0, 0, 1, 1)
    cells = [NamedCell(spot, name("M1"), "")] * 3 + [NamedCell(spot, name("M2"), "")]
    tally.add([*cells, NamedCell(spot, name("M1", 0.2), "uncertain")])
    rows = {r.code: r for r in tally.rows()}
    assert set(rows) == {"M1", "M2"}
    assert (rows["M1"].count, rows["M1"].percent) == (3, 75.0)
    assert tally.left_out == {"uncertain": 1}
