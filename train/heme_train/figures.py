"""The drawings of the report as SVG text: no scripts, no fonts, no colour that must be told apart.

Shades run from white to one dark blue; lines differ in mark and dash as well as in colour
(blue and vermillion of Okabe and Ito 2008).
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "#888"
DARK = (8, 48, 107)
CELL, MARGIN = 32, 64
SIDE, LEFT, TOP, BOTTOM = 320, 52, 12, 46


def svg(width: float, height: float, title: str, body: Sequence[str]) -> str:
    """An SVG element that shrinks with the page; the title is read aloud."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" style="max-width:{width:g}px" role="img" '
        f'aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(body)}</svg>"
    )


def text(x: float, y: float, words: str, anchor: str = "middle", **more: object) -> str:
    """Escaped words at a place; ``more`` are attributes, underscores read as hyphens."""
    extra = "".join(f' {k.replace("_", "-")}="{escape(str(v))}"' for k, v in more.items())
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'


def line(x0: float, y0: float, x1: float, y1: float, stroke: str = GREY, dash: str = "") -> str:
    """A straight line."""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{stroke}"{dashed}/>'
    )


def shade(share: float) -> str:
    """White to dark blue for 0 to 1; the root, so that rare errors are seen."""
    amount = float(np.sqrt(min(max(share, 0.0), 1.0)))
    return "#" + "".join(f"{round(255 + (c - 255) * amount):02x}" for c in DARK)


def heat_map(matrix: NDArray[np.int64], codes: Sequence[str]) -> str:
    """Confusion counts ``[true, named]``, shaded by the share of the true class."""
    size = MARGIN + CELL * len(codes) + 8
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    middle = MARGIN + CELL * len(codes) / 2
    body = [
        text(middle, MARGIN - 30, "named", font_size=13),
        text(20, middle, "true", font_size=13, transform=f"rotate(-90 20 {middle})"),
    ]
    for i, code in enumerate(codes):
        at = MARGIN + CELL * (i + 0.5)
        body += [text(at, MARGIN - 8, code, font_size=11)]
        body += [text(MARGIN - 6, at + 4, code, "end", font_size=11)]
        body += [_cell(i, j, int(n), float(shares[i, j])) for j, n in enumerate(matrix[i])]
    return svg(size, size, "Confusion matrix: true class by row, named class by column", body)


def _cell(i: int, j: int, n: int, share: float) -> str:
    x, y = MARGIN + CELL * j, MARGIN + CELL * i
    edge = "#000" if i == j else "#ddd"
    box = (
        f'<rect x="{x}" y="{y}" width="{CELL}" height="{CELL}" fill="{shade(share)}" '
        f'stroke="{edge}" stroke-width="{1 if i == j else 0.5}"/>'
    )
    colour = "#fff" if share > 0.25 else "#000"
    return box + (text(x + CELL / 2, y + 20, str(n), font_size=10, fill=colour) if n else "")


class Axes:
    """A square plot; maps data to the page and draws the frame.

    Args:
        x, y: ranges of the axes.
        names: of the axes.
        steps: how many equal steps the ticks divide each axis into.
    """

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        names: tuple[str, str],
        steps: int = 5,
    ) -> None:
        self.x_range, self.y_range, self.names, self.steps = x, y, names, steps

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Place on the page of a point of the data."""
        (x0, x1), (y0, y1) = self.x_range, self.y_range
        return LEFT + SIDE * (x - x0) / (x1 - x0), TOP + SIDE * (1 - (y - y0) / (y1 - y0))

    def frame(self) -> list[str]:
        """Box, ticks and names."""
        low, high = TOP + SIDE, LEFT + SIDE
        parts = [
            f'<rect x="{LEFT}" y="{TOP}" width="{SIDE}" height="{SIDE}" fill="none" '
            f'stroke="{GREY}"/>',
            text(LEFT + SIDE / 2, low + 38, self.names[0], font_size=13),
            text(13, TOP + SIDE / 2, self.names[1], font_size=13,
                 transform=f"rotate(-90 13 {TOP + SIDE / 2})"),
        ]  # fmt: skip
        for k in range(self.steps + 1):
            share = k / self.steps
            px, py = LEFT + SIDE * share, low - SIDE * share
            parts += [line(px, low, px, low + 4), line(LEFT - 4, py, LEFT, py)]
            parts += [text(px, low + 18, _tick(self.x_range, share), font_size=11)]
            parts += [text(LEFT - 7, py + 4, _tick(self.y_range, share), "end", font_size=11)]
            if 0 < k < self.steps:
                parts.append(line(LEFT, py, high, py, "#eee"))
        return parts

    def path(self, points: Sequence[tuple[float, float]], stroke: str, dash: str = "") -> str:
        """A line through points of the data."""
        places = " ".join("{:.1f},{:.1f}".format(*self.at(*p)) for p in points)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        return (
            f'<polyline points="{places}" fill="none" stroke="{stroke}" stroke-width="2"{dashed}/>'
        )

    def draw(self, title: str, body: Sequence[str]) -> str:
        """The whole plot."""
        return svg(LEFT + SIDE + 20, TOP + SIDE + BOTTOM, title, [*self.frame(), *body])


def _tick(limits: tuple[float, float], share: float) -> str:
    return f"{limits[0] + (limits[1] - limits[0]) * share:.2f}"


def reliability(bins: Sequence[dict[str, Any]]) -> str:
    """Accuracy over mean confidence of each bin with its Wilson interval; area is the count."""
    axes = Axes((0, 1), (0, 1), ("probability of the answer", "share right"))
    most = max((b["n"] for b in bins), default=1) or 1
    body = [axes.path([(0, 0), (1, 1)], GREY, "5 4")]
    for b in (b for b in bins if b["n"]):
        x, y = axes.at(b["confidence"], b["accuracy"])
        low, high = (axes.at(0, bound)[1] for bound in b["interval"])
        radius = 3 + 9 * np.sqrt(b["n"] / most)
        body.append(line(x, low, x, high, BLUE))
        body.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{BLUE}" '
            f'fill-opacity="0.6" stroke="{BLUE}"/>'
        )
    return axes.draw("Reliability: share right over probability", body)


def coverage_curve(curve: Sequence[dict[str, Any]], marked: Sequence[dict[str, Any]]) -> str:
    """Accuracy over the share of cells that are named, with its interval dashed."""
    lowest = min((r.get("interval") or [r["accuracy"]])[0] for r in curve)
    bottom = float(np.floor(min(lowest, 0.95) * 10) / 10)
    axes = Axes((0.5, 1), (bottom, 1), ("share of the cells that are named", "share right"))
    body = []
    if all(r.get("interval") for r in curve):
        for side in (0, 1):
            body.append(
                axes.path([(r["coverage"], r["interval"][side]) for r in curve], GREY, "3 3")
            )
    body.append(axes.path([(r["coverage"], r["accuracy"]) for r in curve], BLUE))
    for r in marked:
        x, y = axes.at(r["coverage"], r["accuracy"])
        body.append(
            f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="{VERMILLION}"/>'
        )
    return axes.draw("Accuracy over coverage", body)
