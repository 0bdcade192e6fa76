"""One backend x precision in a process of its own: ``python -m heme_edge.bench.worker TASK``.

TASK is JSON of ``Task``. Answers are JSON lines on stdout: first ``{}`` or ``{"failed": …}``,
then one for each line ``BATCH SECONDS`` on stdin, until that ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from heme_edge.backends import open_checked
from heme_edge.backends.base import Backend
from heme_edge.bundle import load_bundle
from heme_edge.crops import Image
from heme_edge.errors import HemeError


@dataclass(frozen=True)
class Task:
    """What a worker runs.

    Attributes:
        bundle: its folder.
        threads: for CPU backends; 0 is the backend's own choice.
        crops: ``.npy`` file of uint8 ``[N, 96, 96, 3]``.
        answers: ``.npy`` file to write their probabilities ``[N, C]`` to.
    """

    bundle: str
    backend: str
    precision: str
    threads: int
    crops: str
    answers: str


def serve(task: Task, lines: IO[str], out: IO[str]) -> None:
    """Opens the backend, names all crops once, then runs one round for each line."""
    try:
        bundle = load_bundle(Path(task.bundle))
        backend, _ = open_checked(bundle, task.backend, task.precision, task.threads)
    except HemeError as error:
        _reply(out, {"failed": error.message})
        return
    crops = np.load(task.crops)
    np.save(task.answers, backend.infer(crops)[0])
    _reply(out, {})
    for line in lines:
        batch, seconds = line.split()
        _reply(out, measure(backend, crops, int(batch), float(seconds)))
    backend.close()


def measure(backend: Backend, crops: Image, batch: int, seconds: float) -> dict[str, Any]:
    """One round: batches of the crops in turn, after one that is not counted.

    Returns:
        ``latencies_ms`` of each batch and ``peak_mib``, the process's largest resident memory.
    """
    places = np.arange(batch)
    backend.infer(crops[places % len(crops)])
    latencies: list[float] = []
    ends = time.perf_counter() + seconds
    while not latencies or time.perf_counter() < ends:
        chosen = crops[(places + batch * len(latencies)) % len(crops)]
        started = time.perf_counter()
        backend.infer(chosen)
        latencies.append(1000 * (time.perf_counter() - started))
    return {"latencies_ms": latencies, "peak_mib": peak_mib()}


def peak_mib() -> float:
    """This process's peak resident memory in MiB.

    Not ``getrusage``: its peak is inherited from the process that started this one.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def _reply(out: IO[str], content: dict[str, Any]) -> None:
    out.write(json.dumps(content) + "\n")
    out.flush()


def main() -> None:
    """Serves until stdin ends. Ctrl-C is for the parent, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not stand between the replies
    serve(Task(**json.loads(sys.argv[1])), sys.stdin, out)


if __name__ == "__main__":
    main()
