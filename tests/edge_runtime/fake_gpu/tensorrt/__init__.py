"""A ``tensorrt`` for machines without a GPU: ONNX Runtime behind the part of the API we use.

A plan is the ONNX file behind a header; tensors are read and written at the addresses that were
set, in the memory of the fake driver beside it. Rubbish ends the process, as the real one's does.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

import numpy as np
import onnxruntime

__version__ = os.environ.get("FAKE_TRT_VERSION", "10.3.0")
HEADER = b"fake plan "


class ILogger:
    ERROR, INTERNAL_ERROR = "error", "internal"


class NetworkDefinitionCreationFlag:
    STRONGLY_TYPED = 1


class BuilderFlag:
    pass


class MemoryPoolType:
    WORKSPACE = 0


class _Network:
    num_outputs = 2
    onnx = b""


class OnnxParser:
    num_errors = 0

    def __init__(self, network: _Network, logger: ILogger) -> None:
        self._network = network

    def parse(self, content: bytes) -> bool:
        self._network.onnx = content
        return True


class _Profile:
    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        assert (name, len(shapes)) == ("crops", 3)


class _Timings:
    def serialize(self) -> bytes:
        return b"timings"


class _Config:
    def set_memory_pool_limit(self, pool: int, size: int) -> None:
        assert size == 512 << 20

    def add_optimization_profile(self, profile: _Profile) -> None:
        pass

    def create_timing_cache(self, content: bytes) -> _Timings:
        assert content in (b"", b"timings")
        return _Timings()

    def set_timing_cache(self, cache: _Timings, ignore_mismatch: bool) -> None:
        assert not ignore_mismatch

    def get_timing_cache(self) -> _Timings:
        return _Timings()


class Builder:
    def __init__(self, logger: ILogger) -> None:
        pass

    def create_network(self, flags: int) -> _Network:
        assert flags == 2
        return _Network()

    def create_builder_config(self) -> _Config:
        return _Config()

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: _Network, config: _Config) -> bytes | None:
        return None if os.environ.get("FAKE_NULL_PLAN") else HEADER + network.onnx


class _Context:
    def __init__(self, onnx: bytes) -> None:
        self._session: Any = onnxruntime.InferenceSession(onnx)
        self._address: dict[str, int] = {}

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._address[name] = address
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shape = shape
        return 1 <= shape[0] <= 64

    def execute_async_v3(self, stream: int) -> bool:
        assert stream
        size = int(np.prod(self._shape))
        memory = (ctypes.c_uint8 * size).from_address(self._address["crops"])
        crops = np.frombuffer(memory, np.uint8).reshape(self._shape)
        names = ["probabilities", "disagreement"]
        for name, found in zip(names, self._session.run(names, {"crops": crops}), strict=True):
            content = np.ascontiguousarray(found, np.float32).tobytes()
            ctypes.memmove(self._address[name], content, len(content))
        return not os.environ.get("FAKE_NO_EXECUTE")


class _Engine:
    num_io_tensors = 3

    def __init__(self, onnx: bytes) -> None:
        self._onnx = onnx

    def get_tensor_name(self, index: int) -> str:
        return ("crops", "probabilities", "disagreement")[index]

    def create_execution_context(self) -> _Context | None:
        return None if os.environ.get("FAKE_NO_CONTEXT") else _Context(self._onnx)


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        pass

    def deserialize_cuda_engine(self, plan: bytes) -> _Engine | None:
        if not plan.startswith(HEADER):
            os.abort()
        return None if os.environ.get("FAKE_NULL_ENGINE") else _Engine(plan[len(HEADER) :])
