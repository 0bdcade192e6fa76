import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from heme_edge.errors import HemeError
from heme_train.models import create_network, packaged_weights_file, preprocessing


def test_packaged_weights_fit_in_order_and_shape() -> None:
    network = create_network("efficientnet_lite0", 13)
    packaged = torch.load(packaged_weights_file(), weights_only=True)
    first = next(iter(packaged.values()))
    assert torch.equal(next(iter(network.state_dict().values())), first)
    assert network(torch.zeros(1, 3, 96, 96)).shape == (1, 13)


def test_timm_imports_beside_a_cpu_torch() -> None:
    code = "from heme_train.models import import_timm; print(import_timm().__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "timm", done.stderr


def test_local_checkpoint(tmp_path: Path) -> None:
    one = create_network("test_efficientnet", 5, "none")
    torch.save(one.state_dict(), tmp_path / "w.pt")
    two = create_network("test_efficientnet", 5, str(tmp_path / "w.pt"))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    with pytest.raises(HemeError, match="weights of another network"):
        create_network("efficientnet_lite0", 5, str(tmp_path / "w.pt"))


def test_preprocessing() -> None:
    crops = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), np.uint8)
    plain = preprocessing((0.5,) * 3, (0.5,) * 3, False)(torch.from_numpy(crops))
    assert plain.shape == (2, 3, 96, 96)
    assert np.allclose(plain.numpy(), crops.transpose(0, 3, 1, 2) / 127.5 - 1, atol=1e-5)
    even = preprocessing((0.5,) * 3, (0.5,) * 3, True)(torch.from_numpy(crops))
    assert even.mean().abs() < 1e-4
    assert torch.allclose(even.std((2, 3)), torch.ones(2, 3), atol=0.07)
