"""The NVIDIA driver, asked through ctypes before any TensorRT call.

Without a GPU some TensorRT calls end the process, so nothing of TensorRT is touched until
``find_gpu`` has answered.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from heme_edge.errors import BackendError

_MAJOR, _MINOR = 75, 76
"""``CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR`` and ``_MINOR`` of ``cuda.h``."""


@dataclass(frozen=True)
class Gpu:
    """The first GPU: its name and compute capability, for example ``8.7`` (Orin)."""

    name: str
    compute_capability: str


def find_gpu() -> Gpu:
    """The first GPU of this machine.

    Raises:
        BackendError: there is no NVIDIA driver, or it finds no GPU.
    """
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise BackendError(
            "This machine has no NVIDIA driver (libcuda.so.1 cannot be loaded).",
            "heme-edge classify --backend onnxruntime",
        ) from None
    _call(cuda, "cuInit", 0)
    device = ctypes.c_int()
    _call(cuda, "cuDeviceGet", ctypes.byref(device), 0)
    name = ctypes.create_string_buffer(256)
    _call(cuda, "cuDeviceGetName", name, 256, device)
    parts = []
    for attribute in (_MAJOR, _MINOR):
        value = ctypes.c_int()
        _call(cuda, "cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
        parts.append(str(value.value))
    return Gpu(name.value.decode("utf-8", "replace"), ".".join(parts))


def _call(cuda: ctypes.CDLL, function: str, *arguments: object) -> None:
    code = getattr(cuda, function)(*arguments)
    if code:
        raise BackendError(
            f"The NVIDIA driver finds no usable GPU ({function} answers {code}).", "nvidia-smi"
        )
