"""Device memory, a stream and copies, through pycuda or cuda-bindings.

pycuda where it is installed, which is the user's choice (on a Jetson it builds against JetPack's
CUDA); cuda-bindings otherwise. Both retain the primary context of GPU 0, the one TensorRT uses;
it is current only inside ``current()``, on the thread that is in there.
"""

from __future__ import annotations

import ctypes
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heme_edge.errors import BackendError, MissingExtraError

Bytes = NDArray[np.uint8]


class Cuda(ABC):
    """What the TensorRT backend needs of CUDA; all but ``current`` and ``close`` inside it."""

    stream: int
    """Handle of a stream of its own."""
    errors: tuple[type[Exception], ...] = ()
    """What the package itself raises."""

    @contextmanager
    def current(self) -> Iterator[None]:
        """The context is current on this thread inside the block.

        Raises:
            BackendError: CUDA refused something in there.
        """
        self._push()
        try:
            yield
        except self.errors as error:
            raise BackendError(f"CUDA answers: {error}.", "nvidia-smi") from error
        finally:
            self._pop()

    @abstractmethod
    def pinned(self, size: int) -> Bytes:
        """Page-locked host memory, uint8 ``[size]``; freed by ``close``."""

    @abstractmethod
    def device_memory(self, size: int) -> int:
        """Address of ``size`` bytes on the GPU; freed by ``close``."""

    @abstractmethod
    def upload(self, address: int, host: Bytes) -> None:
        """Copies pinned memory to the GPU, in the stream's order."""

    @abstractmethod
    def download(self, host: Bytes, address: int) -> None:
        """Copies from the GPU to pinned memory, in the stream's order."""

    @abstractmethod
    def synchronise(self) -> None:
        """Waits until the stream has done everything."""

    @abstractmethod
    def close(self) -> None:
        """Frees all memory, the stream and the context."""

    @abstractmethod
    def _push(self) -> None: ...

    @abstractmethod
    def _pop(self) -> None: ...


def installed_cuda() -> str:
    """``pycuda`` or ``cuda.bindings``, whichever is installed; empty where neither is."""
    return next((p for p in ("pycuda", "cuda.bindings") if _is_installed(p)), "")


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # of the package that would hold it
        return False


def open_cuda() -> Cuda:
    """CUDA on GPU 0; ``driver.find_gpu`` must have found one before.

    Raises:
        MissingExtraError: neither package is installed.
        BackendError: CUDA refuses.
    """
    package = installed_cuda()
    if not package:
        raise MissingExtraError("pycuda (or cuda-bindings)", "tensorrt")
    return PyCuda() if package == "pycuda" else CudaBindings()


class PyCuda(Cuda):
    """``pycuda.driver``; never ``pycuda.autoinit``, which takes a context of its own."""

    def __init__(self) -> None:
        import pycuda.driver as driver

        self._driver: Any = driver
        self.errors = (driver.Error,)
        driver.init()
        self._context: Any = driver.Device(0).retain_primary_context()
        self._memory: list[Any] = []
        self._host: list[Any] = []
        with self.current():
            self._stream: Any = driver.Stream()
        self.stream = int(self._stream.handle)

    def pinned(self, size: int) -> Bytes:
        """See ``Cuda.pinned``."""
        host: Bytes = self._driver.pagelocked_empty(size, np.uint8)
        self._host.append(host)
        return host

    def device_memory(self, size: int) -> int:
        """See ``Cuda.device_memory``."""
        self._memory.append(self._driver.mem_alloc(size))
        return int(self._memory[-1])

    def upload(self, address: int, host: Bytes) -> None:
        """See ``Cuda.upload``."""
        self._driver.memcpy_htod_async(address, host, self._stream)

    def download(self, host: Bytes, address: int) -> None:
        """See ``Cuda.download``."""
        self._driver.memcpy_dtoh_async(host, address, self._stream)

    def synchronise(self) -> None:
        """See ``Cuda.synchronise``."""
        self._stream.synchronize()

    def close(self) -> None:
        """See ``Cuda.close``."""
        with self.current():
            for memory in (*self._memory, *(host.base for host in self._host)):
                memory.free()
            self._memory, self._host, self._stream = [], [], None
        self._context.detach()

    def _push(self) -> None:
        self._context.push()

    def _pop(self) -> None:
        self._driver.Context.pop()


class CudaBindings(Cuda):
    """``cuda.bindings.driver``, whose functions answer ``(code, results…)``."""

    def __init__(self) -> None:
        from cuda.bindings import driver

        self._driver: Any = driver
        self._memory: list[int] = []
        self._host: list[int] = []
        self._do(driver.cuInit(0))
        self._device = self._do(driver.cuDeviceGet(0))
        self._context = self._do(driver.cuDevicePrimaryCtxRetain(self._device))
        with self.current():
            self._stream = self._do(driver.cuStreamCreate(0))
        self.stream = int(self._stream)

    def _do(self, answer: tuple[Any, ...]) -> Any:
        if int(answer[0]):
            raise BackendError(f"CUDA answers {answer[0].name}.", "nvidia-smi")
        return answer[1] if len(answer) > 1 else None

    def pinned(self, size: int) -> Bytes:
        """See ``Cuda.pinned``."""
        address = int(self._do(self._driver.cuMemHostAlloc(size, 0)))
        self._host.append(address)
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def device_memory(self, size: int) -> int:
        """See ``Cuda.device_memory``."""
        self._memory.append(int(self._do(self._driver.cuMemAlloc(size))))
        return self._memory[-1]

    def upload(self, address: int, host: Bytes) -> None:
        """See ``Cuda.upload``."""
        self._do(
            self._driver.cuMemcpyHtoDAsync(address, host.ctypes.data, host.nbytes, self._stream)
        )

    def download(self, host: Bytes, address: int) -> None:
        """See ``Cuda.download``."""
        self._do(
            self._driver.cuMemcpyDtoHAsync(host.ctypes.data, address, host.nbytes, self._stream)
        )

    def synchronise(self) -> None:
        """See ``Cuda.synchronise``."""
        self._do(self._driver.cuStreamSynchronize(self._stream))

    def close(self) -> None:
        """See ``Cuda.close``."""
        with self.current():
            for address in self._memory:
                self._do(self._driver.cuMemFree(address))
            for address in self._host:
                self._do(self._driver.cuMemFreeHost(address))
            self._do(self._driver.cuStreamDestroy(self._stream))
        self._memory, self._host = [], []
        self._do(self._driver.cuDevicePrimaryCtxRelease(self._device))

    def _push(self) -> None:
        self._do(self._driver.cuCtxPushCurrent(self._context))

    def _pop(self) -> None:
        self._do(self._driver.cuCtxPopCurrent())
