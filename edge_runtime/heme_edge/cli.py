"""``heme-edge``: photos, a live camera, and what works on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from heme_edge import RESEARCH_USE_ONLY, __version__
from heme_edge.cli_support import EXIT_SOME_SKIPPED, EXIT_UNUSABLE, HemeGroup, note

Command = Callable[..., Any]


def model_options(command: Command) -> Command:
    """``--bundle``, ``--precision`` and ``--backend``, alike on every command that names cells."""
    for option in (
        click.option(
            "--backend", default="auto", show_default=True,
            help="auto (the fastest that passes its reference here), onnxruntime, openvino, …",
        ),
        click.option(
            "--precision", default="auto", show_default=True,
            help="auto (the fastest that passes its reference here), fp32, fp16 or int8.",
        ),
        click.option(
            "--bundle", type=click.Path(path_type=Path),
            help="Bundle folder [default: the one in the package].",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


DEFAULT_WEB = "127.0.0.1:8300"
scale_option = click.option(
    "--um-per-px",
    type=click.FloatRange(0.05, 1.0),
    help="Scale of the pictures in µm per pixel [default: from --optics or red cells; with "
    "--crops 0.25, marked as assumed].",
)
session_option = click.option(
    "--session", type=click.Path(path_type=Path), metavar="DIR",
    help="Keep frames, cells with their crops and what is done with them in this folder.",
)  # fmt: skip
detector_option = click.option(
    "--detector", type=click.Choice(["auto", "learned", "classical"]), default="auto",
    show_default=True, help="What finds the cells; auto: the bundle's own, else classical.",
)  # fmt: skip
optics_option = click.option(
    "--optics", type=click.Path(dir_okay=False, path_type=Path), metavar="JSON",
    help="Profile of the camera, as heme-calibrate optics writes it: scale, flat field, white.",
)  # fmt: skip


@click.group(cls=HemeGroup)
@click.version_option(__version__, prog_name="heme-edge")
def main() -> None:
    """Find, crop and name bone-marrow cells beside the microscope.

    Research use only. Not for use in diagnostic procedures.
    """


@main.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH…")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for results.")
@click.option("--crops", is_flag=True, help="The photos are single cells, not fields.")
@click.option("--max-cells", type=click.IntRange(0), default=500, show_default=True,
              help="Counted cells after which a slide is left; 0: read all of it.")  # fmt: skip
@scale_option
@optics_option
@session_option
@detector_option
@model_options
def classify(
    paths: tuple[Path, ...], out: Path, crops: bool, max_cells: int, um_per_px: float | None,
    optics: Path | None, session: Path | None, detector: str, bundle: Path | None, precision: str,
    backend: str,
) -> int:  # fmt: skip
    """Name the cells in photos and whole slides (files or folders); the differential is in --out.

    Writes cells.csv, photos.csv, differential.csv and run.json. An interrupted run goes on with
    the same command. Exit code 0: all read; 1: some skipped; 2: nothing usable; 130: interrupted.
    """
    from heme_edge.offline import Request, run

    asked = Request(
        paths,
        out,
        crops,
        um_per_px,
        bundle,
        precision,
        backend,
        optics,
        max_cells,
        session,
        detector,
    )
    counts = run(asked, click.echo)
    if not counts.read:
        return EXIT_UNUSABLE
    return EXIT_SOME_SKIPPED if counts.skipped else 0


@main.command()
@click.option(
    "--camera", "cameras", required=True, multiple=True, metavar="SRC",
    help="Camera number or /dev path, csi or csi:1 (Jetson), http:// or rtsp:// stream, video "
    "file, photo folder, or sim; give it again for each further one.",
)  # fmt: skip
@scale_option
@optics_option
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Stop after this long.")
@click.option("--headless", is_flag=True, help="JSON lines on stdout, no picture.")
@click.option(
    "--picture", type=click.Path(path_type=Path),
    help="Write the annotated frame here about once a second [default: heme-live.jpg].",
)  # fmt: skip
@click.option(
    "--record", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.mp4",
    help="Write the video that was analysed (.mp4, .avi, .mkv), and beside it a .jsonl of what "
    "was drawn on it.",
)  # fmt: skip
@click.option("--window", is_flag=True, help="Show the annotated frame on the screen; q ends.")
@click.option("--sim-seed", type=int, default=0, show_default=True, help="Seed of --camera sim.")
@click.option("--sim-truth", type=click.Path(path_type=Path), help="Write the simulated truth.")
@click.option("--sim-crops", type=click.Path(path_type=Path),
              help="Class folders of real crops to paste into the simulated smear.")  # fmt: skip
@click.option("--sim-tour", type=click.IntRange(0, 9), metavar="N",
              help="Tour 0 to 9 of the simulated stage, at whose end it ends.")  # fmt: skip
@click.option("--patience", type=click.FloatRange(0), default=60.0, show_default=True,
              help="Seconds that a lost camera or stream is waited for.")  # fmt: skip
@click.option("--real-time", is_flag=True,
              help="Play a video as a camera would, late frames dropped.")  # fmt: skip
@session_option
@click.option("--resume", type=click.Path(path_type=Path), metavar="DIR",
              help="Go on with the session in this folder.")  # fmt: skip
@click.option("--web", is_flag=False, flag_value=DEFAULT_WEB, metavar="[HOST:PORT]",
              help=f"Show the session in a browser [at {DEFAULT_WEB}].")  # fmt: skip
@click.option("--target", type=click.IntRange(1), default=None, metavar="N",
              help="Count so many cells: then counting rests on the page, or ends.")  # fmt: skip
@click.option("--until", default="", metavar="'M1 20'",
              help="Count until the interval of a class is clear of a percentage.")  # fmt: skip
@detector_option
@model_options
def live(
    cameras: tuple[str, ...], um_per_px: float | None, optics: Path | None, seconds: float | None,
    headless: bool, picture: Path | None, record: Path | None, window: bool,
    sim_seed: int, sim_truth: Path | None, sim_crops: Path | None, sim_tour: int | None,
    patience: float, real_time: bool, session: Path | None, resume: Path | None,
    web: str | None, target: int | None, until: str,
    detector: str, bundle: Path | None, precision: str, backend: str,
) -> int:  # fmt: skip
    """Find and name cells in what a camera sees, each once, until Ctrl-C."""
    from heme_edge.stopping import Stopping

    with Stopping() as stopping:
        from heme_edge.live import Request, run

        asked = Request(
            cameras, um_per_px, seconds, headless, picture, sim_seed, sim_truth, sim_crops,
            sim_tour, bundle, precision, backend, optics, patience, real_time,
            record, window, session, resume, web, target or 0, until, detector,
        )  # fmt: skip
        return run(asked, stopping)


session_argument = click.argument("session", type=click.Path(path_type=Path), metavar="SESSION")


@main.command()
@session_argument
def verify(session: Path) -> int:
    """Check that nothing in a session's rows or log was lost or changed.

    Exit code 0: sound; 1: it is not, and what is wrong is listed. It shows accidents and careless
    edits, not a forger.
    """
    from heme_edge.session.commands import report_sound

    return 0 if report_sound(session, click.echo) else EXIT_SOME_SKIPPED


@main.command()
@session_argument
@click.option("--reclassify", is_flag=True,
              help="Name the stored crops again, and tell how far the names agree.")  # fmt: skip
@model_options
def replay(
    session: Path, reclassify: bool, bundle: Path | None, precision: str, backend: str
) -> None:
    """Recompute a session's differential from its rows and log; JSON on stdout."""
    from heme_edge.session.commands import print_record, replay_record

    print_record(replay_record(session, bundle, backend, precision, again=reclassify))


def _batches(_context: click.Context, _option: click.Parameter, text: str) -> tuple[int, ...]:
    sizes = tuple(dict.fromkeys(int(n) for n in text.split(",") if n.strip().isdigit()))
    if len(sizes) != len(text.split(",")) or min(sizes) < 1:
        raise click.BadParameter(f"'{text}' is not a list of different sizes, such as 1,8,32.")
    return sizes


@main.command()
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option("--batches", default="1,8,32", show_default=True, callback=_batches)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True,
              help="Of each round of one batch size.")  # fmt: skip
@click.option("--threads", type=click.IntRange(0), default=0, help="[default: all processors]")
@click.option(
    "--crops", type=click.Path(path_type=Path),
    help="Folder of single-cell images [default: the bundle's reference crops].",
)  # fmt: skip
@click.option("--json", "report", type=click.Path(path_type=Path), help="Write the figures here.")
def bench(
    bundle: Path | None, batches: tuple[int, ...], rounds: int, seconds: float, threads: int,
    crops: Path | None, report: Path | None,
) -> None:  # fmt: skip
    """Measure every backend x precision of BUNDLE that works here.

    Each runs in a process of its own; rounds are interleaved, so compare figures within one run.
    """
    import json

    from heme_edge.bench.run import Request, run
    from heme_edge.bench.table import print_report
    from heme_edge.writing import write_whole

    found = run(Request(bundle, batches, rounds, seconds, threads, crops), note)
    print_report(found)
    if report is not None:
        write_whole(report, json.dumps(found, indent=1, ensure_ascii=False).encode() + b"\n")


@main.command("open")
@click.argument("session", type=click.Path(file_okay=False, path_type=Path))
@click.option("--web", "at", default=DEFAULT_WEB, show_default=True, metavar="HOST:PORT",
              help="Where it is served; a token is needed where others can reach it.")  # fmt: skip
@model_options
def open_(
    session: Path, at: str, bundle: Path | None, precision: str, backend: str
) -> None:  # fmt: skip
    """Show the page over a finished SESSION: look, correct, sign, export."""
    from heme_edge.web.opened import open_session
    from heme_edge.web.uploads import Model

    open_session(session, at, Model(bundle, backend, precision))


@main.command()
@click.option("--bundle", type=click.Path(path_type=Path), help="Bundle folder to check.")
def doctor(bundle: Path | None) -> int:
    """Say what works on this machine, and why the rest does not."""
    from heme_edge.doctor import report

    lines, well = report(bundle)
    for line in lines:
        click.echo(line)
    click.echo(RESEARCH_USE_ONLY)
    return 0 if well else EXIT_SOME_SKIPPED


if __name__ == "__main__":
    main()
