"""``heme-train explain``: saliency sheets, the features' picture and the shortcut alarm."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from heme_edge.cli_support import data_option

if TYPE_CHECKING:
    from heme_edge.crops import Image
    from heme_train.data import Crop
    from heme_train.explain import Explained
    from heme_train.features import Shortcut

NOTE = (
    "The alarm says that the features carry the source, not that names rest on it; "
    "compare with training on one source and testing on the other."
)


@click.command()
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder.")
@data_option
@click.option("--role", "roles", multiple=True, default=("test",), show_default=True)
@click.option("--source", "sources", multiple=True, help="Only crops of this source. Repeatable.")
@click.option("--per-class", type=click.IntRange(1), default=6, show_default=True,
              help="Crops on each class's sheet.")  # fmt: skip
@click.option("--member", type=click.IntRange(0), default=0, show_default=True,
              help="Which network of an ensemble.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True)
def explain(
    run: Path, out: Path, data: Path, roles: tuple[str, ...], sources: tuple[str, ...],
    per_class: int, member: int, seed: int,
) -> None:  # fmt: skip
    """Show what a network of RUN answers by: Grad-CAM, SmoothGrad, UMAP, shortcut alarm.

    Writes a sheet for each class, the share of saliency inside the cell (saliency.csv), the
    features in two dimensions by class and by source, and how well the source can be told from
    the features within one class (shortcut.csv). The summary is in explain.json.
    """
    from heme_edge.errors import HemeError
    from heme_train.data import open_crops
    from heme_train.evaluate import crop_image
    from heme_train.explain import explain_crops, member_of
    from heme_train.features import penultimate, shortcuts
    from heme_train.runs import crops_of, load_run

    opened, crops = load_run(run), crops_of(run, open_crops(data))
    member_of(opened, member)
    rows = crops.select(roles, sources, opened.codes)
    if not rows:
        raise HemeError("There are no crops to explain.", "Check --role and --source")
    out.mkdir(parents=True, exist_ok=True)
    images = [crop_image(crops, row) for row in rows]
    chosen = chosen_per_class(rows, per_class, seed)
    cells = explain_crops(
        opened, member, [rows[i] for i in chosen], [images[i] for i in chosen], seed
    )
    write_saliency(out, cells)
    features = penultimate(opened, member, images)
    found, untold = shortcuts(features, rows, seed)
    write_shortcuts(out, found)
    summary = {
        "run": str(run),
        "member": opened.names[member],
        "network": opened.content["recipe"]["network"],
        "roles": list(roles),
        "crops": len(rows),
        "saliency": summarise_saliency(cells),
        "shortcut": [shortcut_row(s) for s in found],
        "without_shortcut": untold,
        "umap": write_projection(out, features, rows, seed),
        "note": NOTE,
    }
    (out / "explain.json").write_text(json.dumps(summary, indent=1) + "\n")
    _say(summary)


def chosen_per_class(rows: Sequence[Crop], per_class: int, seed: int) -> list[int]:
    """Indices of some crops of each class, drawn from its sources in turn."""
    import numpy as np

    rng = np.random.default_rng(seed)
    by_class: dict[str, dict[str, list[int]]] = {}
    for i in rng.permutation(len(rows)):
        by_source = by_class.setdefault(rows[i].code, {})
        by_source.setdefault(rows[i].source, []).append(int(i))
    chosen = []
    for _, by_source in sorted(by_class.items()):
        ranked = [(k, s, i) for s, some in by_source.items() for k, i in enumerate(some)]
        chosen += [i for _, _, i in sorted(ranked)[:per_class]]
    return chosen


def write_saliency(out: Path, cells: Sequence[Explained]) -> None:
    """The sheets ``class-CODE.png`` and ``saliency.csv``."""
    from heme_train.explain import METHODS
    from heme_train.sheets import class_sheet

    for code in sorted({cell.crop.code for cell in cells}):
        own = [cell for cell in cells if cell.crop.code == code]
        _save(out / f"class-{code}.png", class_sheet(code, own))
    head = ("file", "code", "named", "method", "share_inside", "even", "outline")
    rows = [
        (cell.crop.file, cell.crop.code, cell.named, method, _short(cell.share_inside(method)),
         _short(cell.chance), cell.outline)
        for cell in cells
        for method in METHODS
    ]  # fmt: skip
    _table(out / "saliency.csv", head, rows)


def summarise_saliency(cells: Sequence[Explained]) -> dict[str, Any]:
    """Mean share inside the cell by method, over all crops and within each class."""
    from heme_train.explain import METHODS

    def means(some: Sequence[Explained]) -> dict[str, float | None]:
        shares = {m: [c.share_inside(m) for c in some] for m in METHODS}
        return {m: _mean(s for s in values if s is not None) for m, values in shares.items()}

    codes = sorted({cell.crop.code for cell in cells})
    return {
        "crops": len(cells),
        "share_inside": means(cells),
        "even": _mean(cell.chance for cell in cells),
        "outlines": dict(Counter(cell.outline for cell in cells)),
        "per_class": {code: means([c for c in cells if c.crop.code == code]) for code in codes},
    }


def shortcut_row(s: Shortcut) -> dict[str, Any]:
    """One row of ``shortcut.csv``."""
    return {
        "code": s.code,
        "sources": " ".join(s.sources),
        "crops": s.crops,
        "groups": s.groups,
        "balanced_accuracy": round(s.accuracy, 4),
        "low": round(s.low, 4),
        "high": round(s.high, 4),
        "chance": round(s.chance, 4),
        "p": round(s.p, 4),
        "alarm": s.alarm,
    }


def write_shortcuts(out: Path, found: Sequence[Shortcut]) -> None:
    """The table ``shortcut.csv``; with its head alone where no class has two sources."""
    from heme_train.features import Shortcut

    head = tuple(shortcut_row(Shortcut("", (), 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0)))
    _table(out / "shortcut.csv", head, (tuple(shortcut_row(s).values()) for s in found))


def write_projection(out: Path, features: Any, rows: Sequence[Crop], seed: int) -> str:
    """``features.csv``, ``umap-class.png`` and ``umap-source.png``, or why there are none."""
    from heme_edge.errors import HemeError
    from heme_train.features import project
    from heme_train.sheets import scatter

    try:
        points = project(features, seed)
    except HemeError as error:
        return f"{error.message} {error.hint}".strip()
    head = ("file", "code", "source", "x", "y")
    places = [(r.file, r.code, r.source) for r in rows]
    table = [(*place, f"{x:.4f}", f"{y:.4f}") for place, (x, y) in zip(places, points, strict=True)]
    _table(out / "features.csv", head, table)
    for name, labels in (("class", [r.code for r in rows]), ("source", [r.source for r in rows])):
        _save(out / f"umap-{name}.png", scatter(points, labels, f"UMAP of the features by {name}"))
    return "features.csv, umap-class.png, umap-source.png"


def _say(summary: dict[str, Any]) -> None:
    from heme_train.explain import METHODS

    saliency = summary["saliency"]
    for method, title in METHODS.items():
        share = saliency["share_inside"][method]
        said = "no saliency" if share is None else f"{share:.0%} of the saliency is on the cell"
        click.echo(f"{title}: {said} (even: {saliency['even']:.0%}; {saliency['crops']} crops)")
    for s in summary["shortcut"]:
        told = "ALARM, the source is told" if s["alarm"] else "the source is not told"
        click.echo(
            f"{s['code']}: {told}, balanced accuracy {s['balanced_accuracy']:.2f} "
            f"({s['low']:.2f}-{s['high']:.2f}; chance {s['chance']:.2f}; p {s['p']:.3f})"
        )
    if not summary["shortcut"]:
        click.echo("No class has two sources of two groups: the alarm cannot be tried.")
    click.echo(f"UMAP: {summary['umap']}")


def _mean(values: Iterable[float]) -> float | None:
    some = list(values)
    return sum(some) / len(some) if some else None


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _table(path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])


def _save(path: Path, image: Image) -> None:
    import cv2

    path.write_bytes(cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes())
