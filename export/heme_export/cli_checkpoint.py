"""The options of ``heme-export bundle`` that say what a checkpoint does not say itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from heme_edge.errors import HemeError

if TYPE_CHECKING:
    from heme_train.data import CropSet
    from heme_train.runs import Run

Command = TypeVar("Command", bound=Callable[..., Any])
REQUIRED = ("network", "classes", "head")


def _three(
    context: click.Context, option: click.Parameter, value: str | None
) -> tuple[float, ...] | None:
    try:
        return tuple(map(float, value.split(","))) if value is not None else None
    except ValueError:
        raise click.BadParameter("Three numbers with commas between them.") from None


OPTIONS = (
    click.option("--network", help="Of a checkpoint: its timm name, or deepheme."),
    click.option("--classes", help="Of a checkpoint: M1,M2,… by output, or a text file."),
    click.option("--head", metavar="softmax|sigmoid", help="Of a checkpoint."),
    click.option("--mean", callback=_three, metavar="R,G,B",
                 help="Of a checkpoint, in 0 to 1 [default: timm's for the network]."),
    click.option("--std", callback=_three, metavar="R,G,B", help="Likewise."),
)  # fmt: skip


def checkpoint_options(command: Command) -> Command:
    """Adds the options; the command gets them as keywords, None where not given."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def check_told(path: Path, told: dict[str, Any]) -> None:
    """A checkpoint (a file) needs what it does not say; a run or a bundle says it itself.

    Raises:
        HemeError: something is missing, or told in vain.
    """
    lacking = [name for name in REQUIRED if told[name] is None]
    if path.is_file() and lacking:
        raise HemeError(
            f"'{path}' is a checkpoint, which does not say its {lacking[0]}.",
            "--network NAME --classes M1,M2,… --head softmax|sigmoid",
        )
    vain = [name for name, value in told.items() if value is not None]
    if not path.is_file() and vain:
        raise HemeError(
            f"--{vain[0]} is of a checkpoint, a file; a run or a bundle says it itself.",
            f"Leave --{vain[0]} out",
        )


def open_told(path: Path, crops: CropSet, told: dict[str, Any]) -> Run:
    """The checkpoint as a run; see ``heme_export.checkpoint.run_of_checkpoint``."""
    from heme_export.checkpoint import read_codes, run_of_checkpoint

    return run_of_checkpoint(
        path,
        told["network"],
        read_codes(told["classes"]),
        told["head"],
        told["mean"] or (),
        told["std"] or (),
        crops,
    )
