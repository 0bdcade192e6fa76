"""TensorRT in the runtime: opens an engine that ``heme-export engine`` built and chose here.

It never builds: a build takes minutes and most of a small board's memory. Where no engine fits,
opening fails with the command that builds one, and ``auto`` uses ONNX Runtime meanwhile.
"""

from __future__ import annotations

from heme_edge.backends.base import CheckedBackend, Probabilities
from heme_edge.backends.tensorrt.cache import EngineCache, Machine, facts_of
from heme_edge.backends.tensorrt.cuda import installed_cuda, open_cuda
from heme_edge.backends.tensorrt.driver import find_gpu
from heme_edge.backends.tensorrt.engine import Engine
from heme_edge.backends.tensorrt.specs import PROFILE, spec_of
from heme_edge.backends.tensorrt.versions import installed_package, load_library, strongly_typed
from heme_edge.bundle import Bundle
from heme_edge.crops import Image
from heme_edge.errors import BackendError, HemeError, MissingExtraError

NAME = "tensorrt"
SCHEMES = ("float", "s8-symmetric", "s8-symmetric-fp16")
"""TensorRT accepts only signed symmetric activations."""


def _check() -> None:
    find_gpu()  # first: without a driver no package would help
    if not installed_package():
        raise MissingExtraError("tensorrt", "tensorrt")
    if not installed_cuda():
        raise MissingExtraError("pycuda (or cuda-bindings)", "tensorrt")


def why_not() -> str:
    """Empty where this backend can be tried on this machine, else one sentence why not."""
    try:
        _check()
    except HemeError as error:
        return error.message
    return ""


def this_machine() -> Machine:
    """The TensorRT and the GPU that engines are built for here.

    Raises:
        BackendError: there is no GPU, or TensorRT cannot be loaded.
        MissingExtraError: a package is missing.
    """
    _check()
    trt = load_library()
    return Machine(installed_package(), str(trt.__version__), find_gpu())


class TensorRtBackend(CheckedBackend):
    """The fastest engine of a precision that passed its reference on this machine.

    Args:
        bundle: a verified bundle.
        precision: one of its precisions; ``int8`` may be served by a ``mixed`` engine.
        threads: has no meaning on a GPU.

    Raises:
        BackendError: no GPU, or no engine for this bundle, TensorRT and GPU.
        MissingExtraError: a package is missing.
    """

    max_batch = PROFILE[-1]

    def __init__(self, bundle: Bundle, precision: str, threads: int = 0) -> None:
        super().__init__(f"{NAME} {precision}", precision, len(bundle.codes))
        machine = this_machine()
        trt = load_library()
        plan = find_plan(bundle, precision, machine, strongly_typed(trt), EngineCache())
        self._engine = Engine(trt, plan, open_cuda(), len(bundle.codes))

    def _run(self, crops: Image) -> tuple[Probabilities, Probabilities]:
        return self._engine.run(crops)

    def _free(self) -> None:
        self._engine.close()


def find_plan(
    bundle: Bundle, precision: str, machine: Machine, strongly: bool, cache: EngineCache
) -> bytes:
    """The verified plan of the fastest engine that serves a precision.

    Raises:
        BackendError: none was built for this bundle on this machine, or it is damaged.
    """
    for chosen in cache.chosen(bundle.digest, machine):
        spec = spec_of(bundle, chosen.kind, strongly)
        if spec.precision != precision:
            continue
        plan = cache.load(facts_of(spec, machine, chosen.workspace_mib))
        if plan is not None:
            return plan
    raise BackendError(
        f"There is no {precision} engine of '{bundle.info.name}' for TensorRT {machine.version} "
        f"on {machine.gpu.name}.",
        f"heme-export engine {bundle.path}",
    )
