"""The folder of an evaluation: report.html, model-card.md, four CSVs and metrics.json."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from heme_edge import RESEARCH_USE_ONLY
from heme_edge.errors import HemeError
from heme_train import figures
from heme_train import report_tables as tables
from heme_train.measure import Measured
from heme_train.published import PaperTable
from heme_train.report_tables import Table

METRICS, PAGE, CARD = "metrics.json", "report.html", "model-card.md"
ABOUT = {
    "bundle": "bundle",
    "digest": "bundle digest",
    "run": "run",
    "predictions": "predictions",
    "truth": "truth",
    "precision": "precision",
    "roles": "roles",
    "sources": "sources",
    "data_sha256": "crops digest",
}
STYLE = """
body{font:15px/1.45 system-ui,sans-serif;color:#000;background:#fff;max-width:62rem;
margin:1.5rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:.6rem 0}h2{font-size:1.15rem;margin:1.6rem 0 .4rem}
p{margin:.4rem 0;max-width:48rem;overflow-wrap:anywhere}.caption{color:#333;font-size:.9em}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.86rem;margin:.3rem 0}
th,td{padding:.18rem .5rem;border-bottom:1px solid #ccc;text-align:right;
font-variant-numeric:tabular-nums;vertical-align:bottom}
td{white-space:nowrap}th{border-bottom:2px solid #000}.word{text-align:left;white-space:normal}
.over th{border-bottom:1px solid #000;text-align:center}.over th:empty{border:0}
.figures{display:flex;flex-wrap:wrap;gap:1rem}svg{width:100%;height:auto}
svg text{font-family:system-ui,sans-serif}figure{margin:.4rem 0;flex:1 1 16rem}
.warning{font-weight:bold;border:2px solid #000;padding:.4rem .6rem}
@media print{body{margin:0;font-size:11px}.wide{overflow:visible}
table{font-size:8px}th,td{padding:.1rem .25rem}tr,figure{break-inside:avoid}h2{break-after:avoid}}
"""


@dataclass(frozen=True)
class Beside:
    """What stands in the report beside the figures themselves.

    Attributes:
        published: the paper's tables; empty where they are not at hand.
        evidence: ``{title: metrics}`` of other runs.
        warnings: sentences in bold at the top, with those of the metrics.
    """

    published: list[PaperTable] = field(default_factory=list)
    evidence: dict[str, dict[str, Any]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def write_report(measured: Measured, folder: Path, beside: Beside | None = None) -> None:
    """Writes every file of the report into ``folder``, which is made."""
    beside = beside or Beside()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / METRICS).write_text(as_json(measured.metrics) + "\n", encoding="utf-8")
    (folder / PAGE).write_text(page(measured, beside), encoding="utf-8")
    (folder / CARD).write_text(model_card(measured, beside), encoding="utf-8")
    _write_csvs(measured, folder)


def as_json(metrics: dict[str, Any]) -> str:
    """Metrics as the text of metrics.json; a figure that does not exist is null.

    Raises:
        ValueError: a figure is not a number, which would be a defect.
    """
    return json.dumps(metrics, indent=1, allow_nan=False)


def load_evidence(items: Iterable[str]) -> dict[str, dict[str, Any]]:
    """``TITLE=metrics.json`` options to ``{title: metrics}``.

    Raises:
        HemeError: an item is not of that form, or its file is no metrics.json.
    """
    evidence = {}
    for item in items:
        title, _, path = item.rpartition("=")
        try:
            metrics = json.loads(Path(path).read_text(encoding="utf-8"))
            float(metrics["accuracy"]), float(metrics["macro"]["f1"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HemeError(f"'{item}' is not TITLE=metrics.json ({error}).") from error
        evidence[title] = metrics
    return evidence


def page(measured: Measured, beside: Beside) -> str:
    """``report.html``: one file, nothing loaded from elsewhere."""
    title = escape(measured.title)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body>\n"
        + "\n".join(_parts(measured, beside))
        + "\n</body></html>\n"
    )


def _parts(measured: Measured, beside: Beside) -> list[str]:
    m = measured.metrics
    parts = [f"<p><strong>{escape(RESEARCH_USE_ONLY)}</strong></p>"]
    parts += [f'<p class="warning">{escape(w)}</p>' for w in (*beside.warnings, *m["warnings"])]
    parts += [f"<h1>{escape(measured.title)}</h1>", f"<p>{escape(what_was_measured(m))}</p>"]
    parts += [f"<p>{escape(note)}</p>" for note in m["notes"]]
    parts += [html_table(tables.headline(m)), html_table(tables.per_class(m))]
    parts += _comparisons(m, beside)
    parts += [html_table(table) for table in tables.members(m)]
    parts += [
        _figure(
            "Confusion matrix",
            figures.heat_map(measured.confusion, measured.codes),
            "Counts; the shade is the share of the true class (row), on a root scale.",
        ),
        html_table(tables.confused(m)),
        '<div class="figures">',
        _figure(
            "Reliability",
            figures.reliability(m["reliability"]),
            "On the dashed line a probability means what it says. The area of a dot goes with "
            "its number of cells; bars are 95 % Wilson intervals that take cells as independent.",
        ),
        _figure(
            "Coverage",
            figures.coverage_curve(measured.curve, m["coverage"]),
            "Accuracy when only the surest cells are named; squares are the rows of the table, "
            "dashes the 95 % interval.",
        ),
        "</div>",
        html_table(tables.coverage(m)),
    ]
    return parts


def what_was_measured(m: dict[str, Any]) -> str:
    """One paragraph: how many crops, of what, named by what."""
    i = m["intervals"]
    groups = f" of {i['groups']} groups" if i["by"] == "group" else ""
    parts = [f"{m['n']} crops{groups}, {len(m['per_class'])} classes"]
    for key, name in ABOUT.items():
        value = m.get(key)
        if value:
            parts.append(f"{name} {', '.join(value) if isinstance(value, list) else value}")
    return "; ".join(parts) + "."


def _comparisons(m: dict[str, Any], beside: Beside) -> list[str]:
    parts = []
    compared = tables.paper(m, beside.published)
    if compared is not None:
        parts.append(html_table(compared))
    elif not beside.published:
        parts.append("<p>The paper's tables were not at hand, so nothing stands beside ours.</p>")
    else:
        parts.append("<p>No class here has the code of one in the paper's tables.</p>")
    others = tables.evidence(beside.evidence)
    return [*parts, html_table(others)] if others else parts


def _figure(title: str, drawing: str, caption: str) -> str:
    return (
        f"<figure><h2>{escape(title)}</h2>{drawing}"
        f'<figcaption class="caption">{escape(caption)}</figcaption></figure>'
    )


def html_table(table: Table) -> str:
    """A table as HTML, everything escaped."""

    def row(cells: Sequence[str], tag: str) -> str:
        words = ['<{0} class="word">', "<{0}>"]
        return "".join(
            words[i >= table.text_columns].format(tag) + f"{escape(cell)}</{tag}>"
            for i, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in table.rows)
    caption = f'<p class="caption">{escape(table.caption)}</p>' if table.caption else ""
    over = "".join(f'<th colspan="{n}">{escape(words)}</th>' for words, n in table.over)
    above = f'<tr class="over">{over}</tr>' if over else ""
    return (
        f'<h2>{escape(table.title)}</h2>{caption}<div class="wide"><table><thead>{above}<tr>'
        f"{row(table.header, 'th')}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def model_card(measured: Measured, beside: Beside) -> str:
    """``model-card.md``: headline, classes and other runs, to paste into a card."""
    m = measured.metrics
    parts = [f"## {_plain(measured.title)}", f"**{RESEARCH_USE_ONLY}**"]
    parts += [f"**{_plain(w)}**" for w in (*beside.warnings, *m["warnings"])]
    parts += [_plain(what_was_measured(m)), *map(_plain, m["notes"])]
    shown = [tables.headline(m), tables.per_class(m), *tables.members(m)[:1]]
    others = tables.evidence(beside.evidence)
    parts += [markdown_table(t) for t in (*shown, *([others] if others else []))]
    return "\n\n".join(parts) + "\n"


def markdown_table(table: Table) -> str:
    """A table as Markdown with its title and caption."""
    lines = [
        "| " + " | ".join(map(_plain, table.header)) + " |",
        "|" + "|".join("---" if i < table.text_columns else "--:" for i in range(len(table.header)))
        + "|",
        *("| " + " | ".join(map(_plain, row)) + " |" for row in table.rows),
    ]  # fmt: skip
    caption = f"\n\n{_plain(table.caption)}" if table.caption else ""
    return f"### {_plain(table.title)}{caption}\n\n" + "\n".join(lines)


def _plain(text: str) -> str:
    """Text that Markdown takes as it is."""
    return escape(text, quote=False).replace("|", "\\|").replace("\n", " ")


def _write_csvs(measured: Measured, folder: Path) -> None:
    m = measured.metrics
    keys = ("n", "auc", "precision", "recall", "f1", "accuracy")
    bounds = m["intervals"].get("per_class", {})
    rows = []
    for code, s in m["per_class"].items():
        b = bounds.get(code, {})
        limits = [x for key in ("precision", "recall", "f1") for x in (b.get(key) or ("", ""))]
        rows.append([code, *(s[key] for key in keys), *limits])
    ends = [f"{k}_{end}95" for k in ("precision", "recall", "f1") for end in ("low", "high")]
    _write_csv(folder / "per_class.csv", ["code", *keys, *ends], rows)
    counts = [[c, *map(int, n)] for c, n in zip(measured.codes, measured.confusion, strict=True)]
    _write_csv(folder / "confusion.csv", ["true", *measured.codes], counts)
    _write_csv(
        folder / "coverage.csv",
        ["coverage", "kept", "threshold", "accuracy", "low95", "high95"],
        [[*list(r.values())[:4], *(r.get("interval") or ("", ""))] for r in measured.curve],
    )
    _write_csv(
        folder / "reliability.csv",
        ["low", "high", "n", "confidence", "accuracy", "low95", "high95"],
        [[*list(r.values())[:5], *(r["interval"] or ("", ""))] for r in m["reliability"]],
    )


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(["" if v is None else v for v in row] for row in rows)
