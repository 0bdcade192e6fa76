"""OpenVINO on the CPU: the fast backend of x86 edge PCs."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from functools import partial
from typing import Any

import numpy as np

from heme_edge.backends.base import CheckedBackend, Probabilities
from heme_edge.bundle import Bundle
from heme_edge.crops import CROP_PX, Image
from heme_edge.errors import BackendError, MissingExtraError

NAME = "openvino"
SCHEMES = ("float", "u8-asymmetric", "s8-symmetric")
"""Both INT8 files run here at about the same speed; the unsigned one is made for CPUs."""

BATCH = 8
MOST_STREAMS = 4
"""With more, a frame of 32 cells would leave streams without work."""

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
    """OpenVINO's CPU plugin: fixed batches of eight side by side, a single crop by itself.

    OpenVINO's kernels for fixed shapes are up to twice as fast as those for a dynamic batch, and
    a batch size it has not seen yet costs it tens of ms; so smaller batches are filled up.
    The model for a single crop is compiled when there is one for the first time.

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

    max_batch = BATCH

    def __init__(self, bundle: Bundle, precision: str, threads: int = 0) -> None:
        super().__init__(f"{NAME} {precision}", precision, len(bundle.codes))
        file = bundle.model(precision, SCHEMES).file
        openvino = load_openvino()
        threads = threads or len(os.sched_getaffinity(0))
        streams = min(threads, MOST_STREAMS)
        try:
            core = openvino.Core()
            graph = core.read_model(bundle.path / file)
            _check_outputs(file, graph)
            self._queue: Any = openvino.AsyncInferQueue(
                _compile(core, graph, BATCH, threads, streams), streams
            )
            self._queue.set_callback(_keep)
        except RuntimeError as error:
            raise BackendError(f"OpenVINO cannot load '{file}': {_last_line(error)}") from error
        self._compile_one: Any = partial(_compile, core, graph, 1, threads, 1)
        self._one: Any = None

    def _run_all(self, batches: list[Image]) -> list[_Answer]:
        answers: dict[int, _Answer] = {}
        for place, batch in enumerate(batches):
            if len(batch) == 1:
                answers[place] = self._run(batch)
            else:
                self._queue.start_async({"crops": _filled(batch)}, (answers, place, len(batch)))
        self._queue.wait_all()
        return [answers[place] for place in range(len(batches))]

    def _run(self, crops: Image) -> _Answer:
        self._one = self._one or self._compile_one().create_infer_request()
        self._one.infer({"crops": crops})
        return _answer(self._one, 1)

    def _free(self) -> None:
        self._one = self._compile_one = self._queue = None


def _compile(core: Any, graph: Any, batch: int, threads: int, streams: int) -> Any:
    graph.reshape([batch, CROP_PX, CROP_PX, 3])
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": streams,
        "ENABLE_CPU_PINNING": False,
    }
    return core.compile_model(graph, "CPU", settings)


def _check_outputs(file: str, graph: Any) -> None:
    inputs = [port.any_name for port in graph.inputs]
    outputs = {port.any_name for port in graph.outputs}
    if inputs != ["crops"] or not {"probabilities", "disagreement"} <= outputs:
        raise BackendError(f"'{file}' is not a heme-edge model: it has {inputs} -> {outputs}.")


def _filled(crops: Image) -> Image:
    """A full batch; what stands in the empty places does not matter."""
    if len(crops) == BATCH:
        return crops
    return np.concatenate([crops, np.zeros((BATCH - len(crops), *crops.shape[1:]), np.uint8)])


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
