"""Checkpoints into networks: every tensor must be there and fit, and nothing be left over."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heme_edge.errors import HemeError

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS_FILE = "weights.pt"
NESTED_KEYS = ("state_dict", "model_state_dict", "model")
"""Where checkpoints of training programs keep the tensors."""


def load_local(whole: nn.Module, backbone: nn.Module, path: Path, exact: bool = False) -> None:
    """Loads a checkpoint: every tensor of the backbone must be in it and fit, but its classifier.

    Args:
        whole: the network; the same as ``backbone`` unless it has the published head.
        backbone: the timm network in it.
        path: a file of tensors, or a run folder.
        exact: whether the last layer (the classifier, or the published head) must be in the file
            and fit too.

    Raises:
        HemeError: it is no such file, a tensor is missing or does not fit, or is left over.
    """
    path = path / WEIGHTS_FILE if path.is_dir() else path
    own, others = _split_state(backbone.state_dict(), _read_state(path))
    last = () if whole is not backbone else _classifier_names(backbone)
    _load_fitting(backbone, own, last, path, exact)
    if whole is backbone:
        _refuse(others, path)
    elif others or exact:
        _load_head(whole, others, path, exact)


def _read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name; nothing in the file is run."""
    from torch import Tensor

    if not path.is_file():
        raise HemeError(f"The weights file '{path}' does not exist.")
    refusal = HemeError(
        f"'{path}' is not a state_dict: tensors by name are read, never pickled programs.",
        "torch.save(network.state_dict(), PATH)",
    )
    try:
        content = _read_content(path)
    except Exception as error:  # torch raises whatever its unpickler meets
        raise refusal from error
    for key in NESTED_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise refusal
    if not all(isinstance(v, Tensor) for v in content.values()):
        raise refusal
    return content


def _read_content(path: Path) -> Any:
    """What safetensors or ``torch.save`` wrote, timm's training arguments among it."""
    import torch

    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    torch.serialization.add_safe_globals([Namespace])
    return torch.load(path, map_location="cpu", weights_only=True)


def _split_state(
    wanted: Mapping[str, Tensor], state: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors a network asks for, under its names, and all others.

    A wrapper's prefix (``module.``, ``0.``, ``model.resnet.`` …) is the one under which the most
    names are found.
    """
    first = next(iter(wanted))
    prefixes = {k[: -len(first)] for k in state if f".{k}".endswith(f".{first}")} | {""}
    prefix = max(sorted(prefixes), key=lambda p: sum(p + k in state for k in wanted))
    own = {k: state[prefix + k] for k in wanted if prefix + k in state}
    used = {prefix + k for k in own}
    return own, {k: v for k, v in state.items() if k not in used}


def _classifier_names(network: nn.Module) -> tuple[str, ...]:
    named = getattr(network, "pretrained_cfg", {}).get("classifier") or ()
    return tuple(f"{n}." for n in ((named,) if isinstance(named, str) else named))


def _load_fitting(
    network: nn.Module, own: dict[str, Tensor], last: tuple[str, ...], path: Path, exact: bool
) -> None:
    """Loads tensors; one missing or unlike is an error, but in the last layer unless exact."""
    wanted = network.state_dict()
    for key, value in wanted.items():
        there, in_last = own.get(key), key.startswith(last)
        if there is not None and there.shape == value.shape:
            wanted[key] = there
        elif (exact or not in_last) and not key.endswith("num_batches_tracked"):
            raise _unlike(path, key, there, value, in_last)
    network.load_state_dict(wanted)


def _unlike(path: Path, key: str, there: Tensor | None, wanted: Tensor, in_last: bool) -> HemeError:
    what = "is missing" if there is None else f"is {_sizes(there)}, not {_sizes(wanted)}"
    same_inputs = there is not None and there.shape[1:] == wanted.shape[1:]
    if in_last and there is not None and there.dim() == wanted.dim() and same_inputs:
        return HemeError(
            f"'{path}' names {len(there)} classes, not {len(wanted)}: '{key}' {what}.",
            "Every class of its last layer, in order; or network deepheme, for DeepHeme's "
            "published head",
        )
    return HemeError(f"'{path}' holds the weights of another network: '{key}' {what}.")


def _sizes(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"


def _refuse(others: Mapping[str, Tensor], path: Path) -> None:
    if others:
        raise HemeError(
            f"'{path}' holds the weights of another network: '{min(others)}' has no place here.",
            "Network deepheme for DeepHeme's published head",
        )


def _load_head(whole: nn.Module, others: dict[str, Tensor], path: Path, exact: bool) -> None:
    """Loads 1000->100->C, told by shape; a last layer of other classes stays new unless exact."""
    stems = {k.removesuffix("weight"): v.shape for k, v in others.items() if v.dim() == 2}
    first = [stem for stem, shape in stems.items() if shape == (100, 1000)]
    last = [stem for stem, shape in stems.items() if shape[1] == 100]
    if len(first) != 1 or len(last) != 1:
        raise HemeError(f"'{path}' does not hold the two layers 1000->100->C after the network.")
    parts = {"hidden.": first[0], "classifier.": last[0]}
    own = {
        new + kind: others.pop(old + kind)
        for new, old in parts.items()
        for kind in ("weight", "bias")
        if old + kind in others
    }
    _refuse(others, path)
    own |= {k: v for k, v in whole.state_dict().items() if k.startswith("backbone.")}
    _load_fitting(whole, own, ("classifier.",), path, exact)
