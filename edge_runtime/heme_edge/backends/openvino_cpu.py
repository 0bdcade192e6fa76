"""OpenVINO on the CPU: the fast backend of x86 edge PCs."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from functools import cache, partial
from typing import Any

import numpy as np

from heme_edge.backends.base import CheckedBackend, Probabilities
from heme_edge.bundle import Bundle
from heme_edge.crops import CROP_PX, Image
from heme_edge.errors import BackendError, MissingExtraError

NAME = "openvino"
SCHEMES = ("float", "u8-asymmetric", "s8-symmetric")
"""Both INT8 files run here at about the same speed; the unsigned one is made for CPUs."""

SIZES = (1, 4, 8)
"""Batches that models are compiled for, each when it is first needed."""
MOST_STREAMS = 4
"""Batches at once. With more, a frame of 32 cells would leave some without work."""

_Answer = tuple[Probabilities, Probabilities]


def why_not() -> str:
    """Empty where this backend can be tried on this machine, else one sentence why not."""
    if importlib.util.find_spec("openvino"):
        return ""
    missing = MissingExtraError("openvino", "openvino")
    return f"{missing.message} Try: {missing.hint}"


def load_openvino() -> Any:
    """The OpenVINO module, without its telemetry.

    Importing it reports to its maker over the network and writes to the home folder; where
    ``openvino_telemetry`` cannot be imported it does neither.

    Raises:
        MissingExtraError: it is not installed.
        BackendError: it is installed and cannot be loaded.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: cannot be imported
    if importlib.util.find_spec("openvino") is None:
        raise MissingExtraError("openvino", "openvino")
    try:
        return importlib.import_module("openvino")
    except Exception as error:  # its import runs code of its own, with errors of any type
        raise BackendError(f"The package openvino cannot be loaded: {_last_line(error)}") from error


class OpenVinoBackend(CheckedBackend):
    """OpenVINO's CPU plugin: small batches of fixed sizes side by side.

    Its kernels for fixed shapes are up to twice as fast as those for a dynamic batch, and each
    batch size it has not seen yet costs it tens of ms; so smaller batches are filled up. A single
    crop has all threads to itself.

    Where the CPU has bfloat16 it would compute the fp32 model in that; here everything that is
    not quantised stays fp32, as certified. Threads are not pinned to processors, which belong to
    camera and detector too.

    Args:
        bundle: a verified bundle.
        precision: one of its precisions.
        threads: in all; 0 is one for each processor this process may use.

    Raises:
        BackendError: the file cannot be loaded or has other inputs or outputs.
        BundleError: the bundle has no such precision.
        MissingExtraError: OpenVINO is not installed.
    """

    max_batch = SIZES[-1]

    def __init__(self, bundle: Bundle, precision: str, threads: int = 0) -> None:
        super().__init__(f"{NAME} {precision}", precision, len(bundle.codes))
        file = bundle.model(precision, SCHEMES).file
        openvino = load_openvino()
        threads = threads or len(os.sched_getaffinity(0))
        self._streams = min(threads, MOST_STREAMS)
        self._queues: dict[int, Any] = {}
        try:
            core = _core()
            graph = core.read_model(bundle.path / file)
            _check_outputs(file, graph)
            self._compile: Any = partial(_compile, openvino, core, graph, threads)
            self._queue(self.max_batch)
        except RuntimeError as error:
            raise BackendError(f"OpenVINO cannot load '{file}': {_last_line(error)}") from error

    def _batch_size(self, count: int) -> int:
        one, some, many = SIZES
        if count == 1:
            return one
        return some if count <= some * self._streams else many

    def _run_all(self, batches: list[Image]) -> list[_Answer]:
        if not batches:
            return []
        size = next(size for size in SIZES if size >= len(batches[0]))
        queue, answers = self._queue(size), dict[int, _Answer]()
        for place, batch in enumerate(batches):
            queue.start_async({"crops": _filled(batch, size)}, (answers, place, len(batch)))
        queue.wait_all()
        return [answers[place] for place in range(len(batches))]

    def _run(self, crops: Image) -> _Answer:
        return self._run_all([crops])[0]

    def _queue(self, size: int) -> Any:
        if size not in self._queues:
            self._queues[size] = self._compile(size, 1 if size == 1 else self._streams)
        return self._queues[size]

    def _free(self) -> None:
        self._queues, self._compile = {}, None


@cache
def _core() -> Any:
    """The process's one OpenVINO core, never let go.

    On CPUs with AMX each core gives the calling thread an alternate signal stack of its own and
    puts the one before back when it goes. With two cores gone in the order they came, that is
    freed memory, and the next signal is written into it.
    """
    return load_openvino().Core()


def _compile(openvino: Any, core: Any, graph: Any, threads: int, size: int, streams: int) -> Any:
    """A queue of ``streams`` requests of ``size`` crops each."""
    graph.reshape([size, CROP_PX, CROP_PX, 3])
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": streams,
        "ENABLE_CPU_PINNING": False,
    }
    queue = openvino.AsyncInferQueue(core.compile_model(graph, "CPU", settings), streams)
    queue.set_callback(_keep)
    return queue


def _check_outputs(file: str, graph: Any) -> None:
    inputs = [port.any_name for port in graph.inputs]
    outputs = {port.any_name for port in graph.outputs}
    if inputs != ["crops"] or not {"probabilities", "disagreement"} <= outputs:
        raise BackendError(f"'{file}' is not a heme-edge model: it has {inputs} -> {outputs}.")


def _filled(crops: Image, size: int) -> Image:
    """A full batch; what stands in the empty places does not matter."""
    if len(crops) == size:
        return crops
    return np.concatenate([crops, np.zeros((size - len(crops), *crops.shape[1:]), np.uint8)])


def _keep(request: Any, where: tuple[dict[int, _Answer], int, int]) -> None:
    """Copies a finished batch to its place; called by OpenVINO's threads."""
    answers, place, count = where
    answers[place] = _answer(request, count)


def _answer(request: Any, count: int) -> _Answer:
    outputs = (request.get_tensor(name).data for name in ("probabilities", "disagreement"))
    probabilities, disagreement = (np.array(data[:count], np.float32) for data in outputs)
    return probabilities, disagreement


def _last_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()[:200]
