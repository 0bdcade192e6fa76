"""ONNX Runtime on the CPU: the backend that works everywhere."""

from __future__ import annotations

import importlib.util
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from heme_edge.backends.base import CheckedBackend, Probabilities
from heme_edge.bundle import Bundle
from heme_edge.crops import Image
from heme_edge.errors import BackendError

NAME = "onnxruntime"
SCHEMES = ("float", "u8-asymmetric")
"""On x86 only unsigned activations are fast; the symmetric files are TensorRT's."""
DISABLED_OPTIMIZERS = {"s8-symmetric-fp16": ("WeightBiasQuantization",)}
"""By scheme: optimisers of ONNX Runtime that break its graphs (seen in 1.32)."""


def why_not() -> str:
    """Empty where this backend can be tried on this machine, else one sentence why not."""
    if importlib.util.find_spec("onnxruntime"):
        return ""
    return "The package onnxruntime is not installed. Try: pip install heme-edge"


def session_options(threads: int) -> Any:
    """How ONNX Runtime runs every model here.

    Args:
        threads: within one operator; 0 is one for each core.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return options


class OnnxRuntimeBackend(CheckedBackend):
    """``onnxruntime``'s CPU provider: small batches side by side, one thread each.

    Two cores name more crops as two single-threaded batches of 16, which stay in their caches,
    than as one batch over both.

    A file of the scheme ``s8-symmetric-fp16`` is opened without ONNX Runtime's optimiser
    ``WeightBiasQuantization``, which breaks Q/DQ graphs in half precision: it puts biases into
    integers with the scale of the input times that of the weights, and computes this in half
    precision, where a small product is lost.

    Args:
        bundle: a verified bundle.
        precision: one of its precisions.
        threads: how many batches at once; 0 is one for each processor this process may use.
        schemes: which of the bundle's files to open, the first that it has. The export measures
            the files of other backends with it.

    Raises:
        BackendError: the file cannot be loaded or has other inputs or outputs.
        BundleError: the bundle has no such precision in one of the schemes.
    """

    max_batch = 16

    def __init__(
        self,
        bundle: Bundle,
        precision: str,
        threads: int = 0,
        *,
        schemes: tuple[str, ...] = SCHEMES,
    ) -> None:
        super().__init__(f"{NAME} {precision}", precision, len(bundle.codes))
        import onnxruntime as ort

        self._threads = threads or len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="infer")
        model = bundle.model(precision, schemes)
        options = session_options(threads=1)
        try:
            self._session: Any = ort.InferenceSession(
                str(bundle.path / model.file),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=DISABLED_OPTIMIZERS.get(model.scheme, ()),
            )
        except Exception as error:  # onnxruntime raises its own, undocumented types
            raise BackendError(
                f"ONNX Runtime cannot load '{model.file}': {_first_line(error)}"
            ) from error
        self._check_outputs(model.file)

    def _check_outputs(self, file: str) -> None:
        inputs = [i.name for i in self._session.get_inputs()]
        outputs = {o.name for o in self._session.get_outputs()}
        if inputs != ["crops"] or not {"probabilities", "disagreement"} <= outputs:
            raise BackendError(f"'{file}' is not a heme-edge model: it has {inputs} -> {outputs}.")

    def _batch_size(self, count: int) -> int:
        return max(1, min(self.max_batch, -(-count // self._threads)))

    def _run_all(self, batches: list[Image]) -> list[tuple[Probabilities, Probabilities]]:
        if len(batches) == 1:
            return [self._run(batches[0])]
        return list(self._pool.map(self._run, batches))

    def _run(self, crops: Image) -> tuple[Probabilities, Probabilities]:
        out = self._session.run(["probabilities", "disagreement"], {"crops": crops})
        return np.asarray(out[0], np.float32), np.asarray(out[1], np.float32)

    def _free(self) -> None:
        self._pool.shutdown()
        self._session = None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200]
