"""The parity certificate: every file of a bundle against the network that was trained."""

from __future__ import annotations

import datetime
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from heme_calibration.choose import Probabilities
from heme_edge import RESEARCH_USE_ONLY
from heme_edge.bundle import BundleInfo, ModelFile
from heme_edge.crops import Image
from heme_edge.errors import HemeError
from heme_edge.machine import processor_name, usable_processors
from heme_export.tolerances import FEW_TEST_CROPS, TOLERANCES, Compared, compare, losses
from heme_train.report import STYLE, html_table
from heme_train.report_tables import Table

PAGE = "PARITY.html"
PROVIDER = "ONNX Runtime, CPUExecutionProvider"
SPEED_CROPS, SPEED_ROUNDS = 32, 7
ROUNDED = (
    "On a CPU the fp16 file proves that its rounded weights and activations say the same, not "
    "that arithmetic in half precision does."
)


class ParityError(HemeError):
    """A file says something else than the network that was trained; nothing was written."""

    exit_code = 3


@dataclass(frozen=True)
class Entry:
    """One file of a certificate.

    Attributes:
        model: the file.
        compared: what it says against what was expected.
        figures: its accuracy, macro means and ECE on the same crops.
        size_bytes: of the file.
        crops_per_s: at a batch of 32.
    """

    model: ModelFile
    compared: Compared
    figures: dict[str, Any]
    size_bytes: int
    crops_per_s: float


def enter(
    folder: Path, model: ModelFile, said: Probabilities, expected: Probabilities,
    truth: Sequence[str], info: BundleInfo, figures: dict[str, Any], crops_per_s: float,
) -> Entry:  # fmt: skip
    """Compares what a file says of the crops, ``[N, C]``, with what was expected."""
    codes = [c.code for c in info.classes]
    size = (folder / model.file).stat().st_size
    return Entry(model, compare(said, expected, truth, codes), figures, size, crops_per_s)


def certificate(entries: Sequence[Entry], against: str, crops: int) -> dict[str, Any]:
    """``parity`` of ``bundle.json``.

    Args:
        entries: of the files.
        against: what was expected, in words.
        crops: of role ``test``, how many.
    """
    base = next(e.crops_per_s for e in entries if e.model.precision == "fp32")
    return {
        "against": against,
        "role": "test",
        "crops": crops,
        "small": crops < FEW_TEST_CROPS,
        "provider": PROVIDER,
        "processor": processor_name(),
        "threads": usable_processors(),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "files": {e.model.file: _row(e, base) for e in entries},
        "accepted": [],
    }


def _row(entry: Entry, fp32_crops_per_s: float) -> dict[str, Any]:
    d = entry.compared.difference
    return {
        "precision": entry.model.precision,
        "scheme": entry.model.scheme,
        "label_agreement": d.agreement,
        "max_difference": d.largest,
        "mean_difference": d.mean,
        "recall_change": {
            code: -lost / count for code, (lost, count) in entry.compared.lost.items()
        },
        "accuracy": entry.figures["accuracy"],
        "macro_f1": entry.figures["macro"]["f1"],
        "ece": entry.figures["ece"],
        "size_bytes": entry.size_bytes,
        "crops_per_s": round(entry.crops_per_s, 1),
        "times_fp32": round(entry.crops_per_s / fp32_crops_per_s, 2),
    }


def sentences(entries: Sequence[Entry]) -> list[str]:
    """One sentence for each tolerance that a file misses."""
    return [
        f"{e.model.file}: {clause}."
        for e in entries
        for clause in losses(e.compared, TOLERANCES[e.model.precision])
    ]


def accept(parity: dict[str, Any], missed: list[str], accepted: bool) -> dict[str, Any]:
    """The certificate with the losses that were accepted.

    Raises:
        ParityError: a tolerance is missed and nobody accepted that.
    """
    if missed and not accepted:
        raise ParityError(
            f"The files do not say what the network says: {' '.join(missed)}",
            "More calibration crops, fewer precisions, or --accept-loss",
        )
    return parity | {"accepted": missed}


def speeds(ways: dict[str, Callable[[Image], object]], crops: Image) -> dict[str, float]:
    """Crops/s of each way with a batch of 32; they take turns, the median of the rounds counts."""
    crops = crops[np.arange(SPEED_CROPS) % len(crops)]
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(SPEED_ROUNDS + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way(crops)
            if round_:  # the first warms caches
                rates[name].append(len(crops) / (time.perf_counter() - started))
    return {name: statistics.median(found) for name, found in rates.items()}


def page(info: BundleInfo) -> str:
    """``PARITY.html``: one file, nothing loaded from elsewhere."""
    parity = info.parity
    small = [f"Small: only {parity['crops']} test crops."] if parity["small"] else []
    warnings = [*small, *(f"Accepted at export: {s}" for s in parity["accepted"])]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(info.name)}: parity</title><style>{STYLE}</style></head><body>\n"
        f"<p><strong>{escape(RESEARCH_USE_ONLY)}</strong></p>"
        f"<h1>{escape(info.name)}: parity certificate</h1>"
        + "".join(f'<p class="warning">{escape(w)}</p>' for w in warnings)
        + f"<p>{escape(_measured(parity))}</p>{html_table(_files(parity))}"
        + html_table(_recalls(parity))
        + "\n</body></html>\n"
    )


def _measured(parity: dict[str, Any]) -> str:
    return (
        f"Each file against {parity['against']} on {parity['crops']} crops of role "
        f"{parity['role']}, {parity['date']}. Executed by {parity['provider']}, "
        f"{parity['threads']} threads, {parity['processor']}. {ROUNDED}"
    )


def _files(parity: dict[str, Any]) -> Table:
    header = ["file", "same label", "max |Δp|", "mean |Δp|", "accuracy", "macro-F1", "ECE", "MB",
              "crops/s", "times fp32"]  # fmt: skip
    rows = [
        [
            file,
            f"{r['label_agreement']:.2%}",
            f"{r['max_difference']:.1e}",
            f"{r['mean_difference']:.1e}",
            f"{r['accuracy']:.4f}",
            f"{r['macro_f1']:.4f}",
            f"{r['ece']:.3f}",
            f"{r['size_bytes'] / 1e6:.1f}",
            f"{r['crops_per_s']:.0f}",
            f"{r['times_fp32']:.2f}",
        ]
        for file, r in parity["files"].items()
    ]
    return Table("Files", header, rows, caption="Speed at a batch of 32, the files taking turns.")


def _recalls(parity: dict[str, Any]) -> Table:
    codes = list(next(iter(parity["files"].values()))["recall_change"])
    rows = [
        [file, *(f"{100 * r['recall_change'][code]:+.1f}" for code in codes)]
        for file, r in parity["files"].items()
    ]
    return Table("Change of recall by class, in points", ["file", *codes], rows)
