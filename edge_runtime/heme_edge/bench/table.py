"""The benchmark's report for people."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console
from rich.table import Table

from heme_edge.notices import loss_lines

NAMES = ("backend", "precision")
FIGURES = ("batch", "crops/s", "p50 ms", "p95 ms", "peak MiB", "same label", "max |Δp|")
WIDTH = 100


def print_report(report: dict[str, Any]) -> None:
    """Prints what was measured on which machine, what did not run and why, and the notices."""
    versions = ", ".join(f"{package} {version}" for package, version in report["versions"].items())
    machine = f"{report['processor']}, {report['usable_processors']} processors"
    click.echo(f"{report['date']}  {machine}")
    click.echo(versions)
    click.echo(f"{report['bundle']}, {report['crops']} crops ({report['crops_from']})")
    Console(width=WIDTH).print(_table(report["rows"]))
    for row in report["rows"]:
        if "not_run" in row:
            click.echo(f"{row['backend']} {row['precision']}: not run: {row['not_run']}")
    for line in loss_lines(report["accepted_losses"]):
        click.echo(line)
    click.echo("Same label and |Δp|: against fp32 of ONNX Runtime on the same crops.")
    click.echo(report["notice"])


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(*NAMES)
    for figure in FIGURES:
        table.add_column(figure, justify="right")
    for row in rows:
        if "not_run" not in row:
            table.add_row(*_cells(row))
    return table


def _cells(row: dict[str, Any]) -> list[str]:
    same, difference = row["label_agreement"], row["max_difference"]
    return [
        row["backend"],
        row["precision"],
        str(row["batch"]),
        f"{row['crops_per_s']:.0f}",
        f"{row['p50_ms']:.1f}",
        f"{row['p95_ms']:.1f}",
        f"{row['peak_mib']:.0f}",
        "" if same is None else f"{same:.3f}",
        "" if difference is None else f"{difference:.4f}",
    ]
