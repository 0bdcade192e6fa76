import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from heme_calibration.confidence import (
    ensemble_probabilities,
    expected_calibration_error,
    fit_reject_threshold,
    fit_temperature,
    negative_log_likelihood,
    sigmoid_shares,
)
from heme_edge.errors import HemeError


def drawn(temperature: float, n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose honest probabilities are their softmax at ``temperature``."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (1, n, 5))
    p = ensemble_probabilities(logits, temperature)
    truth = np.array([rng.choice(5, p=row) for row in p])
    return logits, truth


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_temperature_is_found_again(temperature: float) -> None:
    logits, truth = drawn(temperature)
    found = fit_temperature(logits, truth)
    assert found == pytest.approx(temperature, rel=0.08)
    best = negative_log_likelihood(ensemble_probabilities(logits, found), truth)
    for other in (0.9 * found, 1.1 * found):
        assert best <= negative_log_likelihood(ensemble_probabilities(logits, other), truth)
    assert expected_calibration_error(ensemble_probabilities(logits, found), truth) < 0.03


def test_one_temperature_of_an_ensembles_mean() -> None:
    logits, truth = drawn(1.0)
    pair = np.concatenate([logits, logits + np.random.default_rng(1).normal(0, 1, logits.shape)])
    assert 0.3 < fit_temperature(pair, truth) < 1.2


def test_reject_threshold_keeps_the_wanted_accuracy() -> None:
    logits, truth = drawn(0.7)
    p = ensemble_probabilities(logits, 0.7)
    threshold = fit_reject_threshold(p, truth, 0.95)
    kept = p.max(1) >= threshold
    assert (p.argmax(1) == truth)[kept].mean() >= 0.949
    assert kept.mean() > 0.3


def test_an_accuracy_out_of_reach_rejects_nearly_all() -> None:
    p = np.full((10, 2), 0.5)
    assert fit_reject_threshold(p, np.ones(10, int), 0.98) == 0.999


def test_sigmoid_head_by_hand() -> None:
    """sigmoid(0), sigmoid(ln 3), sigmoid(-ln 3) = 1/2, 3/4, 1/4: never a softmax of these."""
    logits = np.array([[[0.0, np.log(3.0), -np.log(3.0)]]])
    assert ensemble_probabilities(logits, 1.0, "sigmoid")[0] == pytest.approx([1 / 3, 1 / 2, 1 / 6])
    warm = 1 / (1 + np.exp(-logits / 2))
    assert ensemble_probabilities(logits, 2.0, "sigmoid") == pytest.approx(warm[0] / warm.sum())


def test_sigmoids_that_vanish_or_saturate_stay_finite() -> None:
    shares = sigmoid_shares(np.array([[-900.0, -901.0], [900.0, 800.0], [-5000.0, 5000.0]]))
    assert shares[0] == pytest.approx([1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))])
    assert shares[1] == pytest.approx([0.5, 0.5])
    assert shares[2] == pytest.approx([0.0, 1.0])


@pytest.mark.parametrize("temperature", [0.5, 2.5])
def test_temperature_of_a_sigmoid_head_is_found_again(temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(-2, 3, (1, 4000, 5))
    p = ensemble_probabilities(logits, temperature, "sigmoid")
    truth = np.array([rng.choice(5, p=row) for row in p])
    assert fit_temperature(logits, truth, "sigmoid") == pytest.approx(temperature, rel=0.1)


def test_another_head_is_refused() -> None:
    with pytest.raises(HemeError, match="no head 'hinge'"):
        fit_temperature(np.zeros((1, 2, 3)), np.zeros(2, int), "hinge")


def test_nothing_to_fit() -> None:
    with pytest.raises(HemeError, match="no crops to fit"):
        fit_temperature(np.zeros((1, 0, 3)), np.zeros(0, int))


def test_command(tmp_path: Path) -> None:
    logits, truth = drawn(2.0)
    np.savez(tmp_path / "t.npz", logits=logits, truth=truth)
    start = [sys.executable, "-m", "heme_calibration.cli", "confidence"]
    done = subprocess.run([*start, tmp_path / "t.npz"], capture_output=True, text=True)
    said = json.loads(done.stdout)
    assert said["temperature"] == pytest.approx(2.0, rel=0.1)
    assert said["n"] == 4000
    (tmp_path / "bad.npz").write_bytes(b"x")
    bad = subprocess.run([*start, tmp_path / "bad.npz"], capture_output=True, text=True)
    assert bad.returncode == 2
    assert "cannot be used" in bad.stderr
    assert "Traceback" not in bad.stderr
