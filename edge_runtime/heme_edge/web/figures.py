"""The figures that the page shows: tally by class and lineage, the M:E ratio, the stop rule."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from heme_edge.cells import cell_class
from heme_edge.stop_rule import Goal
from heme_edge.tally import Tally, wilson

M_LINEAGES, E_LINEAGES = ("granulocytic", "monocytic"), ("erythroid",)
"""Of the M:E ratio. Definitions differ: here blasts and monocytes are in M, and M and E hold what
is in the differential (no red cells)."""


def figures(tally: Tally, goal: Goal) -> dict[str, Any]:
    """A tally as JSON; percentages 0..100 of counted cells with 95 % intervals."""
    return {
        "total": tally.total,
        "left_out": {reason: n for reason, n in sorted(tally.left_out.items()) if n},
        "classes": [
            {**asdict(row), "lineage": cell_class(row.code).lineage} for row in tally.rows()
        ],
        "lineages": _lineages(tally),
        "me": me_ratio(tally),
        "goal": _goal(tally, goal),
    }


def _lineages(tally: Tally) -> list[dict[str, Any]]:
    counts: dict[str, int] = {}
    for row in tally.rows():
        lineage = cell_class(row.code).lineage
        counts[lineage] = counts.get(lineage, 0) + row.count
    return [
        {"lineage": name, "count": n, **_percent(n, tally.total)} for name, n in counts.items()
    ]  # fmt: skip


def _percent(count: int, total: int) -> dict[str, float]:
    low, high = wilson(count, total)
    return {
        "percent": 100 * count / total if total else 0.0, "low95": 100 * low, "high95": 100 * high,
    }  # fmt: skip


def me_ratio(tally: Tally) -> dict[str, Any]:
    """Myeloid to erythroid, with its 95 % interval and the classes of both.

    The interval is Wilson's of M among M + E, each end ``p`` taken as ``p / (1 - p)``. ``ratio``
    and ``high95`` are None where they are without bound.
    """
    codes: dict[str, list[str]] = {"m": [], "e": []}
    known = [cell_class(row.code) for row in tally.rows()]
    for part, lineages in (("m", M_LINEAGES), ("e", E_LINEAGES)):
        for lineage in lineages:
            of_it = (one for one in known if one.lineage == lineage)
            codes[part] += [one.code for one in sorted(of_it, key=lambda one: one.maturation)]
    m, e = (sum(tally.counted[code] for code in codes[part]) for part in ("m", "e"))
    low, high = wilson(m, m + e)
    return {
        "m": m, "e": e, "m_codes": codes["m"], "e_codes": codes["e"],
        "ratio": m / e if e else None, "low95": low / (1 - low) if low < 1 else None,
        "high95": high / (1 - high) if high < 1 else None,
    }  # fmt: skip


def _goal(tally: Tally, goal: Goal) -> dict[str, Any]:
    rule = goal.rule and {**asdict(goal.rule), **asdict(goal.rule.outlook(tally))}
    return {"target": goal.target, "rule": rule, "reached": goal.reached(tally)}
