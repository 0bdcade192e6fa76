"""What in a crop a network answers by: Grad-CAM, SmoothGrad, and how much of it is the cell.

Grad-CAM is Selvaraju et al. 2017, SmoothGrad Smilkov et al. 2017; both come from captum. Both
explain the logit of the class the network named, right or wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import CROP_PX, CROP_UM_PER_PX, Image
from heme_edge.errors import HemeError, MissingExtraError
from heme_train.data import Crop
from heme_train.runs import Run

if TYPE_CHECKING:
    from torch import Tensor, nn

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]

METHODS = {"gradcam": "Grad-CAM", "smoothgrad": "SmoothGrad"}
SAMPLES, NOISE = 16, 0.1
"""SmoothGrad: noisy copies of a crop, and the noise's deviation as a share of the input's range."""
CHUNK = 8
"""Crops explained at once; with ``SAMPLES`` copies of each in memory."""
DISC_PX = 20
"""Radius of the disc in the middle that stands for a cell whose outline is not found."""
NEAR_UM = 4.0
"""Nuclear pieces that come this near to the middle are of the cell in the middle."""
LEAST_NUCLEUS_UM2 = 15.0
MOST_SHARE = 0.9
"""An outline around more of the crop than this is none."""


@dataclass(frozen=True)
class Explained:
    """One crop and what its name rests on.

    Attributes:
        crop: its row.
        named: what the network named it.
        image: RGB uint8 ``[96, 96, 3]``.
        cell: which pixels are the cell, ``[96, 96]``.
        outline: how ``cell`` was found: ``stain``, or ``disc`` where that failed.
        maps: saliency of each method, ``[96, 96]``, never negative.
    """

    crop: Crop
    named: str
    image: Image
    cell: Mask
    outline: str
    maps: dict[str, Map]

    def share_inside(self, method: str) -> float | None:
        """Share of the saliency that lies on the cell; None where there is no saliency at all."""
        total = float(self.maps[method].sum())
        return float(self.maps[method][self.cell].sum()) / total if total > 0 else None

    @property
    def chance(self) -> float:
        """What even saliency would give: the cell's share of the crop."""
        return float(self.cell.mean())


def explain_crops(
    run: Run, member: int, rows: Sequence[Crop], images: Sequence[Image], seed: int = 0
) -> list[Explained]:
    """Saliency of crops for one network of a run.

    Args:
        run: an opened run.
        member: which of its networks.
        rows, images: the crops, ``[96, 96, 3]`` uint8 RGB.
        seed: of SmoothGrad's noise.

    Raises:
        HemeError: the run has no such member, or the network has no feature map.
        MissingExtraError: captum is not installed.
    """
    network = member_of(run, member)
    done: list[Explained] = []
    for at in range(0, len(images), CHUNK):
        some = images[at : at + CHUNK]
        named, maps = _saliency(network, run.prepare, np.stack(some), seed + at)
        for i, (row, image) in enumerate(zip(rows[at : at + CHUNK], some, strict=True)):
            cell, outline = cell_mask(image)
            own = {method: m[i] for method, m in maps.items()}
            done.append(Explained(row, run.codes[named[i]], image, cell, outline, own))
    return done


def member_of(run: Run, member: int) -> nn.Module:
    """One network of a run.

    Raises:
        HemeError: there are fewer.
    """
    if not 0 <= member < len(run.networks):
        raise HemeError(
            f"The run has no member {member}.", f"--member 0 to {len(run.networks) - 1}"
        )
    return run.networks[member]


def _saliency(
    network: nn.Module, prepare: nn.Module, images: Image, seed: int
) -> tuple[list[int], dict[str, Map]]:
    """Class index of each crop, and its maps ``[N, 96, 96]`` by method."""
    import torch

    with torch.no_grad():
        pixels = prepare(torch.from_numpy(images))
        named = network(pixels).argmax(1)
    maps = {
        "gradcam": _grad_cam(network, pixels, named),
        "smoothgrad": _smooth_grad(network, pixels, named, seed),
    }
    return named.tolist(), {method: np.asarray(m.detach().numpy()) for method, m in maps.items()}


def _captum() -> Any:
    try:
        import captum.attr
    except ImportError as error:
        raise MissingExtraError("captum", "train") from error
    return captum.attr


def _grad_cam(network: nn.Module, pixels: Tensor, named: Tensor) -> Tensor:
    import torch

    method = _captum().LayerGradCam(network, feature_layer(network, pixels[:1]))
    coarse = method.attribute(pixels.clone().requires_grad_(), target=named, relu_attributions=True)
    side = (CROP_PX, CROP_PX)
    return torch.nn.functional.interpolate(coarse, side, mode="bilinear")[:, 0].clamp(min=0.0)


def _smooth_grad(network: nn.Module, pixels: Tensor, named: Tensor, seed: int) -> Tensor:
    """The largest of the three channels' mean gradients, without its sign."""
    import torch

    attr = _captum()
    deviation = NOISE * float(pixels.max() - pixels.min())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        gradient: Tensor = attr.NoiseTunnel(attr.Saliency(network)).attribute(
            pixels.clone().requires_grad_(), nt_type="smoothgrad", nt_samples=SAMPLES,
            stdevs=max(deviation, 1e-6), target=named, abs=False,
        )  # fmt: skip
    return gradient.abs().amax(1)


def feature_layer(network: nn.Module, pixels: Tensor) -> nn.Module:
    """The module that gives a timm network's last feature map, before it is pooled.

    Args:
        network: with timm's ``forward_features``.
        pixels: an input ``[1, 3, H, W]``.

    Raises:
        HemeError: what comes out is no map of channels, as in a transformer.
    """
    import torch

    seen: list[tuple[nn.Module, Any]] = []

    def note(module: nn.Module, _: Any, output: Any) -> None:
        seen.append((module, output))

    hooks = [m.register_forward_hook(note) for m in network.modules()]
    try:
        with torch.no_grad():
            features = network.forward_features(pixels)  # type: ignore[operator]  # timm's, unknown to nn.Module
    finally:
        for hook in hooks:
            hook.remove()
    layers = [module for module, output in seen if output is features]
    if features.dim() != 4 or features.shape[1] != network.num_features or not layers:
        raise HemeError(
            f"The network '{type(network).__name__}' ends in no feature map, "
            "so that Grad-CAM has none to show.",
            "Explain a convolutional network",
        )
    return layers[-1]


def cell_mask(image: Image) -> tuple[Mask, str]:
    """The pixels of the cell in the middle of a crop, with a margin of half a µm.

    Args:
        image: RGB uint8 ``[96, 96, 3]`` at 0.25 µm/px.

    Returns:
        a mask ``[96, 96]``, and ``stain`` where nucleus and cytoplasm were told by their stain,
        or ``disc`` where the middle holds no nucleus: then it is a disc of 20 px radius.
    """
    import cv2

    found = _stained_cell(image)
    if found is not None:
        mask = cv2.resize(found, (CROP_PX, CROP_PX), interpolation=cv2.INTER_NEAREST) > 0
        if mask.mean() <= MOST_SHARE:
            return mask, "stain"
    return _from_middle(CROP_PX) <= DISC_PX, "disc"


def _from_middle(side: int) -> NDArray[np.float64]:
    line = np.arange(side) - (side - 1) / 2
    return np.asarray(np.hypot(line[:, None], line[None, :]), np.float64)


def _stained_cell(image: Image) -> NDArray[np.uint8] | None:
    """Nucleus and cytoplasm at the detector's working scale, or None."""
    import cv2

    from heme_edge.detect.classical import disc
    from heme_edge.detect.extent import BRIDGE_UM, CYTOPLASM_UM, cytoplasm
    from heme_edge.detect.stain import stain
    from heme_edge.detect.threshold import nuclear_level
    from heme_edge.detect.working_scale import WORKING_UM_PER_PX, at_working_scale

    small = at_working_scale(image, CROP_UM_PER_PX)
    field = np.ones(small.shape[:2], np.bool_)
    colours = stain(small, field)
    nuclei = colours.nuclear > nuclear_level(colours, field)
    own = _touching(nuclei, _from_middle(small.shape[0]) * WORKING_UM_PER_PX <= NEAR_UM)
    if own.sum() * WORKING_UM_PER_PX**2 < LEAST_NUCLEUS_UM2:
        return None
    away = _distance(own)
    reach = (away * WORKING_UM_PER_PX <= CYTOPLASM_UM) & (away < _distance(nuclei & ~own))
    body = (cytoplasm(colours, field) & reach).astype(np.uint8)
    body = np.asarray(cv2.morphologyEx(body, cv2.MORPH_OPEN, disc(BRIDGE_UM)), np.uint8)
    whole = _touching((body > 0) | own, own)
    return np.asarray(cv2.dilate(whole.astype(np.uint8), disc(0.5)), np.uint8)


def _touching(mask: Mask, seeds: Mask) -> Mask:
    """The connected pieces of a mask that reach into the seeds."""
    import cv2

    _, labels = cv2.connectedComponents(mask.astype(np.uint8))
    return np.isin(labels, np.unique(labels[mask & seeds])) & mask


def _distance(mask: Mask) -> NDArray[np.float32]:
    """Distance of each pixel to the mask in px; infinite where the mask is empty."""
    import cv2

    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    return np.asarray(cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5), np.float32)
