"""``heme-export engine``: TensorRT engines, built on the device, without torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from heme_edge.backends.tensorrt.make import Report


@click.command()
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option(
    "--precision", default="auto", show_default=True,
    help="auto (fp16, int8 and mixed), or comma-separated; fp32 only on request.",
)  # fmt: skip
@click.option("--workspace-mib", type=click.IntRange(16), default=512, show_default=True,
              help="Cap of TensorRT's scratch memory.")  # fmt: skip
def engine(bundle: Path | None, precision: str, workspace_mib: int) -> None:
    """Build, check and time TensorRT engines of BUNDLE [default: the one in the package] here.

    Engines are tied to this TensorRT and this GPU and are kept in ~/.cache/heme-edge/engines.
    Those that pass the bundle's reference are remembered, the fastest first.
    """
    from heme_edge.backends.tensorrt.make import Options, make_engines
    from heme_edge.backends.tensorrt.specs import KINDS
    from heme_edge.bundle import load_bundle
    from heme_edge.notices import notice

    kinds = KINDS if precision == "auto" else tuple(precision.split(","))
    opened = load_bundle(bundle)
    for report in make_engines(opened, Options(kinds, workspace_mib), _say, _line):
        click.echo(_told(report))
    click.echo(notice(opened.accepted_losses))


def _say(text: str) -> None:
    click.echo(f"\r\033[K{text}" if _on_terminal() else text, err=True)


def _line(text: str) -> None:
    """The progress line: only on a terminal, where it is written over."""
    if _on_terminal():
        click.echo(f"\r\033[K{text[:100]}", nl=False, err=True)


def _on_terminal() -> bool:
    return sys.stderr.isatty()


def _told(report: Report) -> str:
    chosen = report.chosen
    speed = ", ".join(f"{rate:.0f} at {n}" for n, rate in chosen.crops_per_second.items())
    verdict = "passes" if report.passed else "FAILS"
    return (
        f"{chosen.kind:<6}{verdict}: mean |Δp| {chosen.mean_difference:.4f} "
        f"(allowed {report.tolerance:.4f}); crops/s by batch: {speed}"
    )
