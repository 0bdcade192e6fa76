"""The TensorRT package of this machine, and what its version can do.

The module itself is a value here: ``tensorrt`` of JetPack or PyPI (8.6 to 11), or
``tensorrt_rtx``, which has the same Python API. What a version can do is asked of it by
``hasattr``; version numbers are never compared.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from typing import Any

from heme_edge.errors import BackendError, MissingExtraError

PACKAGES = ("tensorrt", "tensorrt_rtx")
"""In order of preference."""


def installed_package() -> str:
    """The first of ``PACKAGES`` that is installed; empty where none is. Imports nothing."""
    return next((p for p in PACKAGES if importlib.util.find_spec(p)), "")


def load_library() -> Any:
    """The TensorRT module.

    Raises:
        MissingExtraError: none is installed.
        BackendError: it is installed and cannot be loaded.
    """
    package = installed_package()
    if not package:
        raise MissingExtraError("tensorrt", "tensorrt")
    try:
        return importlib.import_module(package)
    except Exception as error:  # its import runs code of its own, with errors of any type
        raise BackendError(
            f"The package {package} cannot be loaded: {str(error).strip() or type(error).__name__}"
        ) from error


def strongly_typed(trt: Any) -> bool:
    """Whether networks take their precisions from the ONNX file (10 and later)."""
    return hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def network_flags(trt: Any) -> int:
    """The bit mask for ``create_network``: strongly typed, or explicit batch on 8.x."""
    if hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
        return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    if hasattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH"):
        return 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    return 0


def builder_flags(trt: Any, names: tuple[str, ...]) -> list[Any]:
    """The precision flags of 8.x by name; an empty list where networks are strongly typed.

    Raises:
        BackendError: a flag is asked of a version that has none.
    """
    known = {}
    if hasattr(trt.BuilderFlag, "FP16") and hasattr(trt.BuilderFlag, "INT8"):
        known = {"FP16": trt.BuilderFlag.FP16, "INT8": trt.BuilderFlag.INT8}
    missing = [name for name in names if name not in known]
    if missing:
        raise BackendError(f"This TensorRT has no builder flag {missing[0]}.")
    return [known[name] for name in names]


def keeps_timings(trt: Any) -> bool:
    """Whether builds measure on the GPU and can keep that: not TensorRT-RTX, which does it when
    an engine is loaded (its runtime cache) and warns where a timing cache is set.
    """
    return not hasattr(trt, "IRuntimeCache")


def fresh_logger(trt: Any) -> Any:
    """The process's logger, which keeps errors in ``messages`` instead of printing; emptied."""
    logger = _logger(trt)
    logger.messages.clear()
    return logger


@cache
def _logger(trt: Any) -> Any:
    """One for the process and never freed: TensorRT goes on with the logger it was first given
    while anything made with it lives, whatever later builders and runtimes are given.
    """

    class Kept(trt.ILogger):  # type: ignore[misc]  # the base is known only at run time
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.messages: list[str] = []

        def log(self, severity: Any, text: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.messages.append(text)

    return Kept()


def last_message(logger: Any) -> str:
    """The last error a logger kept, on one line; empty where there is none."""
    return " ".join(str(logger.messages[-1]).split())[:300] if logger.messages else ""
