"""Which engines a bundle can have, and from which of its files each is built."""

from __future__ import annotations

from dataclasses import dataclass

from heme_edge.bundle import Bundle, ModelFile
from heme_edge.errors import BackendError, BundleError

PROFILE = (1, 16, 64)
"""Smallest, usual and largest batch of an engine, in crops."""
KINDS = ("fp16", "int8", "mixed")
"""Kinds that ``auto`` builds; ``fp32`` is built on request."""
ALL_KINDS = ("fp32", *KINDS)
SERVES = {"fp32": "fp32", "fp16": "fp16", "int8": "int8", "mixed": "int8"}
"""The precision a user asks for, by kind of engine."""


@dataclass(frozen=True)
class EngineSpec:
    """One engine that can be built.

    Attributes:
        kind: ``fp32``, ``fp16``, ``int8`` or ``mixed``.
        model: the file the parser reads.
        tolerance: largest mean |Δp| on the reference crops.
        flags: builder flags by name, only where networks are not strongly typed.
    """

    kind: str
    model: ModelFile
    tolerance: float
    flags: tuple[str, ...] = ()

    @property
    def precision(self) -> str:
        """The bundle's precision that this engine serves."""
        return SERVES[self.kind]


_STRONG = {
    "fp32": ("fp32", "float", ()),
    "fp16": ("fp16", "float", ()),
    "int8": ("int8", "s8-symmetric", ()),
    "mixed": ("int8", "s8-symmetric-fp16", ()),
}
_WEAK = {
    "fp32": ("fp32", "float", ()),
    "fp16": ("fp32", "float", ("FP16",)),
    "int8": ("int8", "s8-symmetric", ("INT8",)),
    "mixed": ("int8", "s8-symmetric", ("INT8", "FP16")),
}


def spec_of(bundle: Bundle, kind: str, strongly_typed: bool) -> EngineSpec:
    """How an engine of a kind is built from a bundle.

    Raises:
        BackendError: there is no such kind.
        BundleError: the bundle lacks the file.
    """
    if kind not in ALL_KINDS:
        raise BackendError(
            f"There is no engine '{kind}'.", f"--precision auto|{'|'.join(ALL_KINDS)}"
        )
    precision, scheme, flags = (_STRONG if strongly_typed else _WEAK)[kind]
    model = bundle.model(precision, (scheme,))
    judged = bundle.model("fp16", ("float",)) if kind == "fp16" else model
    return EngineSpec(kind, model, judged.tolerance, flags)


def specs_of(bundle: Bundle, kinds: tuple[str, ...], strongly_typed: bool) -> list[EngineSpec]:
    """The engines of those kinds that a bundle has files for.

    Raises:
        BundleError: it has a file for none of them.
    """
    found, last = [], BundleError(f"The bundle '{bundle.info.name}' asks for no engine.")
    for kind in kinds:
        try:
            found.append(spec_of(bundle, kind, strongly_typed))
        except BundleError as error:
            last = error
    if not found:
        raise last
    return found


def refuse_unfit(model: ModelFile) -> None:
    """Refuses, before the parser sees it, a file that TensorRT cannot run.

    Raises:
        BackendError: its activations are unsigned.
    """
    if model.scheme == "u8-asymmetric":
        raise BackendError(
            f"'{model.file}' has unsigned asymmetric activations, which TensorRT cannot run: "
            "it is for CPUs.",
            "Export the bundle again with a heme-export that writes int8-symmetric.onnx",
        )
