"""The tables of the report, from metrics.json's content, ready for HTML and Markdown alike.

Numbers have three decimals; the paper's two, as printed there. A figure that does not exist is
an en dash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from heme_edge.cells import cell_class, is_known
from heme_train.published import NOT_COMPARABLE, PaperTable

NONE = "–"
HEADS = {"auc": "AUC", "precision": "P", "recall": "R", "f1": "F1"}
BRACKETS = (
    "In brackets the 95 % interval; where no draw met an error it has no width, which does not "
    "mean that there are none. Accuracy is of one class against the rest."
)
Row = list[str]


@dataclass(frozen=True)
class Table:
    """A titled table of plain text cells.

    Attributes:
        title: heading above it.
        header: column heads.
        rows: cells, as many as heads.
        text_columns: how many columns from the left hold words; the rest are numbers.
        caption: what the reader needs to understand the columns.
        over: heads over several columns, ``(words, columns)`` from the left; may be empty.
    """

    title: str
    header: Row
    rows: list[Row]
    text_columns: int = 1
    caption: str = ""
    over: tuple[tuple[str, int], ...] = ()


def number(value: float | None, digits: int = 3) -> str:
    """A figure with three decimals, or an en dash."""
    return NONE if value is None else f"{value:.{digits}f}"


def between(bounds: Sequence[float] | None) -> str:
    """``(low to high)``, or nothing."""
    return "" if bounds is None else f"({bounds[0]:.3f} to {bounds[1]:.3f})"


def with_interval(value: float | None, bounds: Sequence[float] | None) -> str:
    """A figure and its 95 % interval."""
    return f"{number(value)} {between(bounds)}".strip()


def name_of(code: str, m: dict[str, Any]) -> str:
    """The class's name: the bundle's own where it has one, else the vocabulary's, else the code."""
    own: str | None = m.get("names", {}).get(code)
    return own or (cell_class(code).name if is_known(code) else code)


def headline(m: dict[str, Any]) -> Table:
    """Accuracy, means and the rest of the first page."""
    i, macro, near = m.get("intervals", {}), m["macro"], m["neighbour_errors"]
    rows = [
        ["Accuracy", number(m["accuracy"]), between(i.get("accuracy"))],
        ["Macro-F1", number(macro["f1"]), between(i.get("macro_f1"))],
        ["Macro precision", number(macro["precision"]), between(i.get("macro_precision"))],
        ["Macro recall", number(macro["recall"]), between(i.get("macro_recall"))],
        ["Macro AUC", number(macro["auc"]), ""],
        ["True class among the two most probable", number(m["top2"]), between(i.get("top2"))],
        [
            f"Errors within biological neighbours ({near['within_neighbours']} "
            f"of {near['errors']})",
            number(near["share"]),
            between(i.get("neighbour_errors")),
        ],
        [
            f"Classes with precision and recall of at least 0.8, of {len(m['per_class'])}",
            str(m["high_performance_classes"]),
            "",
        ],
        ["ECE (15 bins)", number(m.get("ece")), ""],
        ["NLL, nats", number(m.get("nll")), ""],
    ]
    if "restricted" in m:
        closed = m["restricted"]
        only = "only the true classes allowed"
        rows.append([f"Accuracy, {only}", number(closed["accuracy"]), ""])
        rows.append([f"Macro-F1, {only}", number(closed["macro"]["f1"]), ""])
    return Table("Headline", ["figure", "value", "95 % interval"], rows, caption=drawn(m))


def drawn(m: dict[str, Any]) -> str:
    """How the intervals were made."""
    i = m.get("intervals", {})
    if "accuracy" not in i:
        return ""
    return (
        f"Intervals: {i['draws']} draws of {i['groups']} {i['by']}s with replacement, 2.5th to "
        "97.5th percentile."
    )


def per_class(m: dict[str, Any]) -> Table:
    """Every class with a true example."""
    bounds = m.get("intervals", {}).get("per_class", {})
    rows = []
    for code, s in m["per_class"].items():
        b = bounds.get(code, {})
        scores = [with_interval(s[key], b.get(key)) for key in ("precision", "recall", "f1")]
        rows.append(
            [code, name_of(code, m), str(s["n"]), number(s["auc"]), *scores, number(s["accuracy"])]
        )
    header = ["code", "name", "n", "AUC", "precision", "recall", "F1", "accuracy"]
    return Table(
        "Class by class",
        header,
        rows,
        2,
        f"{BRACKETS} {left_out(m)}".strip(),
    )


def left_out(m: dict[str, Any]) -> str:
    """Names the classes that are not in the means, and those never trained."""
    sentences = []
    if m["without_example"]:
        codes = ", ".join(m["without_example"])
        sentences.append(f"Without a true example, so left out of the means: {codes}.")
    if m["never_trained"]:
        codes = ", ".join(m["never_trained"])
        sentences.append(
            f"Unknown to the model, so wrong every time: {codes}; ECE and NLL do not exist."
        )
    return " ".join(sentences)


def members(m: dict[str, Any]) -> list[Table]:
    """Mean and sd over the networks beside the ensemble's own figures; empty without members."""
    if "members" not in m:
        return []
    by, n = m["members"], m["members"]["n"]
    title = f"Mean ± sd of {n} networks, and the ensemble"
    figures = [("accuracy", by["accuracy"], m["accuracy"])]
    named = {"auc": "AUC", "f1": "F1"}
    figures += [
        (f"macro {named.get(key, key)}", by["macro"][key], m["macro"][key]) for key in by["macro"]
    ]
    figures += [(key.upper(), by[key], m.get(key)) for key in ("ece", "nll")]
    figures.append(("top-2", by["top2"], m["top2"]))
    rows = [[name, spread(s), number(whole)] for name, s, whole in figures]
    rows.append(
        [
            "classes with precision and recall of at least 0.8",
            spread(by["high_performance_classes"]),
            str(m["high_performance_classes"]),
        ]
    )
    keys = ("auc", "precision", "recall", "f1", "accuracy")
    classes = [
        [code, str(m["per_class"][code]["n"]), *(spread(s[key]) for key in keys)]
        for code, s in by["per_class"].items()
    ]
    caption = (
        "Each network is measured by itself (as the paper does); the ensemble is the mean of "
        "their probabilities. Networks: " + ", ".join(by["names"]) + "."
    )
    head = ["code", "n", "AUC", "precision", "recall", "F1", "accuracy"]
    return [
        Table(title, ["figure", "mean ± sd", "ensemble"], rows, caption=caption),
        Table(f"Class by class, mean ± sd of {n} networks", head, classes),
    ]


def spread(s: dict[str, Any]) -> str:
    """``mean ± sd``."""
    sd = "" if s["sd"] is None else f" ± {s['sd']:.3f}"
    return number(s["mean"]) + sd


def coverage(m: dict[str, Any]) -> Table:
    """Accuracy when the least sure cells are not named."""
    rows = [
        [
            f"{100 * r['coverage']:.0f} %",
            str(r["kept"]),
            number(r["threshold"]),
            with_interval(r["accuracy"], r.get("interval")),
        ]
        for r in m["coverage"]
    ]
    header = ["named", "cells", "least probability", "accuracy (95 % interval)"]
    return Table("Coverage and accuracy", header, rows, 0)


def confused(m: dict[str, Any]) -> Table:
    """The commonest errors."""
    rows = [
        [
            f"{r['true']} {name_of(r['true'], m)}",
            f"{r['named']} {name_of(r['named'], m)}",
            "yes" if r["neighbours"] else "no",
            str(r["n"]),
            number(r["share"]),
        ]
        for r in m["confused_pairs"]
    ]
    header = ["true", "named", "neighbours", "n", "share of the true class"]
    return Table("Commonest errors", header, rows, 3)


def paper(m: dict[str, Any], published: list[PaperTable]) -> Table | None:
    """Ours beside the paper's, for the classes whose codes agree; None where none does."""
    shared = published[0].shared(m["per_class"]) if published else []
    if not shared:
        return None
    ours = PaperTable("ours", {code: m["per_class"][code] for code in shared})
    columns = [(t, key) for t in (ours, *published) for key in HEADS if t.has(key)]
    rows = [
        [code, *(_cell(t, key, code, 3 if t is ours else 2) for t, key in columns)]
        for code in shared
    ]
    rows.append(["mean", *(number(_mean_over(t, key, shared)) for t, key in columns)])
    return Table(
        "Beside the paper",
        ["code", *(HEADS[key] for _, key in columns)],
        rows,
        caption="P precision, R recall. " + NOT_COMPARABLE,
        over=(("", 1), *((t.title, sum(c is t for c, _ in columns)) for t in (ours, *published))),
    )


def _cell(table: PaperTable, key: str, code: str, digits: int) -> str:
    return number(table.scores.get(code, {}).get(key), digits)


def _mean_over(table: PaperTable, key: str, codes: list[str]) -> float | None:
    values = [table.scores.get(code, {}).get(key) for code in codes]
    present = [v for v in values if v is not None]
    return sum(present) / len(present) if present else None


def evidence(items: dict[str, dict[str, Any]]) -> Table | None:
    """Figures of other runs (``{title: metrics}``), such as one source left out; None if none."""
    if not items:
        return None
    rows = []
    for title, m in items.items():
        i, closed = m.get("intervals", {}), m.get("restricted", {})
        rows.append(
            [
                title,
                str(m.get("n", NONE)),
                with_interval(m["accuracy"], i.get("accuracy")),
                with_interval(m["macro"]["f1"], i.get("macro_f1")),
                number(m.get("ece")),
                number(closed.get("accuracy")),
                number(closed.get("macro", {}).get("f1")),
            ]
        )
    header = ["on", "n", "accuracy", "macro-F1", "ECE", "accuracy, restricted", "F1, restricted"]
    caption = (
        "Each row is a run of its own. Accuracy and macro-F1 are of the open argmax over all "
        "classes that model knows; restricted means that only the true classes may be answered."
    )
    return Table("Other laboratories and other runs", header, rows, caption=caption)
