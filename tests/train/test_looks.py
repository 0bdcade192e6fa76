"""Sharpness, MixStyle, grey and norms: what keeps a laboratory's look from being learned."""

import numpy as np
import pytest
import torch
from torch import nn

from heme_train.augment import towards_grey
from heme_train.mixstyle import early_stages, mix_styles, mixed
from heme_train.models import create_network
from heme_train.norms import set_norm
from heme_train.sharpness import RINGS, Sharpness, filtered, kernel_of, measure_spectrum

RNG = np.random.default_rng(0)
NOISE = RNG.integers(60, 200, (96, 96, 3)).astype(np.uint8)


def test_an_even_gain_changes_nothing() -> None:
    assert np.abs(filtered(NOISE, kernel_of(np.ones(RINGS))).astype(int) - NOISE).max() <= 1


@pytest.mark.parametrize(("top", "rougher"), [(0.2, False), (3.0, True)])
def test_a_falling_gain_blurs_and_a_rising_one_sharpens(top: float, rougher: bool) -> None:
    image = filtered(NOISE, kernel_of(np.linspace(0.5, 0.1, RINGS)))
    other = filtered(image, kernel_of(np.linspace(1.0, top, RINGS)))
    assert (
        np.diff(other.astype(int), axis=0).std() > np.diff(image.astype(int), axis=0).std()
    ) == (rougher)


def test_transfer_goes_towards_the_other_source() -> None:
    blurred = filtered(NOISE, kernel_of(np.exp(-3 * np.linspace(0, 1, RINGS))))
    spectra = {"sharp": measure_spectrum([NOISE]), "soft": measure_spectrum([blurred])}

    def gap(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> float:
        return float(np.abs(np.log(measure_spectrum([image]) / spectra["soft"]))[2:].mean())

    sharpness, rng = Sharpness(spectra), np.random.default_rng(1)
    gaps = [gap(filtered(NOISE, sharpness.transfer("sharp", rng))) for _ in range(30)]
    assert min(gaps) < 0.35 * gap(NOISE)
    assert Sharpness({}).transfer("unknown", rng).sum() == pytest.approx(1.0)


def test_grey_keeps_brightness_and_loses_colour() -> None:
    image = np.zeros((8, 8, 3), np.uint8) + np.array([200, 40, 120], np.uint8)
    grey = towards_grey(image, np.random.default_rng(0))
    assert np.ptp(grey[0, 0].astype(int)) <= 81
    assert 40 <= grey.min() <= grey.max() <= 200


def test_mixed_features_keep_their_pattern_and_exchange_their_level() -> None:
    torch.manual_seed(0)
    features = torch.randn(4, 2, 6, 6) * torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1, 1)
    new = mixed(features)
    levels = new.std((2, 3)).squeeze()
    assert not torch.allclose(levels, features.std((2, 3)), atol=1e-2)
    assert levels.max() <= features.std((2, 3)).max() * 1.01
    for old_map, new_map in zip(features.flatten(0, 1), new.flatten(0, 1), strict=True):
        pair = torch.stack([old_map.flatten(), new_map.flatten()])
        assert float(torch.corrcoef(pair)[0, 1]) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "mobilenetv4_conv_small"])
def test_styles_are_mixed_in_training_only(name: str) -> None:
    network = create_network(name, 3, "none")
    assert len(early_stages(network)) == 3
    pixels = torch.randn(4, 3, 96, 96)
    plain = network.eval()(pixels)
    mix_styles(network, 1.0)
    assert torch.equal(network(pixels), plain)
    for module in network.modules():
        module.training = not isinstance(module, nn.BatchNorm2d | nn.Dropout)
    assert not torch.allclose(network(pixels), plain, atol=1e-4)


def test_group_norm_in_place_of_batch_norm() -> None:
    network = set_norm(create_network("efficientnet_lite0", 3, "none"), "group")
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    assert network(torch.zeros(1, 3, 96, 96)).shape == (1, 3)


def test_frozen_batch_norm_keeps_its_statistics() -> None:
    network = create_network("test_efficientnet", 3, "none").train()
    set_norm(network, "frozen")
    before = {k: v.clone() for k, v in network.state_dict().items() if "running" in k}
    network(torch.randn(4, 3, 96, 96))
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in before.items())
