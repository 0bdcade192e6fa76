"""A plan on the GPU: its buffers, its execution context, and one batch at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from heme_edge.backends.base import Probabilities
from heme_edge.backends.tensorrt.cuda import Bytes, Cuda
from heme_edge.backends.tensorrt.specs import PROFILE
from heme_edge.backends.tensorrt.versions import fresh_logger, last_message
from heme_edge.crops import CROP_PX, Image
from heme_edge.errors import BackendError

REBUILD = "heme-export engine BUNDLE"
_CROP_BYTES = CROP_PX * CROP_PX * 3


class Engine:
    """A deserialised plan with pinned buffers for its largest batch.

    Args:
        trt: the TensorRT module.
        plan: a plan whose fingerprint and SHA-256 were verified; others can end the process.
        cuda: owned by this engine from here on, and closed by it.
        classes: number of classes.

    Raises:
        BackendError: TensorRT refuses the plan, or it has other inputs or outputs.
    """

    def __init__(self, trt: Any, plan: bytes, cuda: Cuda, classes: int) -> None:
        self._cuda = cuda
        self._logger = fresh_logger(trt)
        self._engine: Any = None
        self._context: Any = None
        self._host: dict[str, Bytes] = {}
        self._address: dict[str, int] = {}
        self._row_bytes = {"crops": _CROP_BYTES, "probabilities": 4 * classes, "disagreement": 4}
        try:
            with cuda.current():
                self._open(trt, plan)
        except BaseException:
            self.close()
            raise

    def _open(self, trt: Any, plan: bytes) -> None:
        self._runtime: Any = trt.Runtime(self._logger)
        engine = self._engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise self._refused("TensorRT refuses the engine")
        names = {engine.get_tensor_name(i) for i in range(engine.num_io_tensors)}
        if names != set(self._row_bytes):
            raise BackendError(f"The engine is not of a heme-edge model: it has {sorted(names)}.")
        context = self._context = engine.create_execution_context()
        if context is None:
            raise self._refused("There is no memory for the engine")
        for name, size in self._row_bytes.items():
            self._host[name] = self._cuda.pinned(size * PROFILE[-1])
            self._address[name] = self._cuda.device_memory(size * PROFILE[-1])
            context.set_tensor_address(name, self._address[name])

    def run(self, crops: Image) -> tuple[Probabilities, Probabilities]:
        """One contiguous batch of 1 to ``PROFILE[-1]`` crops, as ``Backend.infer``.

        Raises:
            BackendError: TensorRT cannot run it.
        """
        count = len(crops)
        with self._cuda.current():
            self._rows("crops", count)[:] = crops.reshape(-1)
            self._cuda.upload(self._address["crops"], self._rows("crops", count))
            self._execute(count)
            for name in ("probabilities", "disagreement"):
                self._cuda.download(self._rows(name, count), self._address[name])
            self._cuda.synchronise()
        probabilities = self._rows("probabilities", count).view(np.float32)
        disagreement = self._rows("disagreement", count).view(np.float32)
        return probabilities.reshape(count, -1).copy(), disagreement.copy()

    def _execute(self, count: int) -> None:
        context = self._context
        shaped = context.set_input_shape("crops", (count, CROP_PX, CROP_PX, 3))
        if not shaped or not context.execute_async_v3(self._cuda.stream):
            raise self._refused(f"The engine cannot run {count} crops")

    def _rows(self, name: str, count: int) -> Bytes:
        return self._host[name][: count * self._row_bytes[name]]

    def _refused(self, what: str) -> BackendError:
        said = last_message(self._logger)
        return BackendError(f"{what}{': ' + said if said else '.'}", REBUILD)

    def close(self) -> None:
        """Frees the engine before the CUDA context it lives in."""
        with self._cuda.current():
            self._context = None
            self._engine = None
            self._runtime = None
        self._host = {}
        self._cuda.close()
