"""Temperature and reject threshold: what makes a probability mean what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heme_edge.errors import HemeError

WANTED_ACCURACY = 0.95
"""Among the cells that keep their name; higher values call most hard neighbours uncertain."""
Floats = NDArray[np.floating[Any]]


def softmax(logits: Floats) -> NDArray[np.float64]:
    """Softmax over the last axis, in float64."""
    shifted = np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True)
    exponents = np.exp(shifted)
    return np.asarray(exponents / exponents.sum(axis=-1, keepdims=True), np.float64)


def sigmoid_shares(logits: Floats) -> NDArray[np.float64]:
    """Sigmoids over the last axis, divided by their sum, in float64.

    p_i / sum(p) is computed as the softmax of ln p_i (not of p_i), so that no sum of vanishing
    sigmoids divides by zero; ln p = -ln(1 + exp(-z)).
    """
    return softmax(-np.logaddexp(0.0, -np.asarray(logits, np.float64)))


PROBABILITIES_OF = {"softmax": softmax, "sigmoid": sigmoid_shares}
"""What turns the logits of one network into probabilities, by its head."""


def ensemble_probabilities(
    logits: Floats, temperature: float, head: str = "softmax"
) -> NDArray[np.float64]:
    """Mean over members of the tempered probabilities: ``[M, N, C]`` logits to ``[N, C]``.

    Args:
        logits: before softmax or sigmoid.
        temperature: divides every logit.
        head: ``softmax`` or ``sigmoid``.

    Raises:
        HemeError: there is no such head.
    """
    if head not in PROBABILITIES_OF:
        raise HemeError(f"There is no head '{head}'.", f"One of {', '.join(PROBABILITIES_OF)}")
    tempered = np.asarray(logits, np.float64) / temperature
    return np.asarray(PROBABILITIES_OF[head](tempered).mean(axis=0))


def negative_log_likelihood(probabilities: Floats, truth: NDArray[np.integer[Any]]) -> float:
    """Mean -ln p of the true class, nats; p is clipped at 1e-12."""
    chosen = np.asarray(probabilities, np.float64)[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())


def fit_temperature(
    logits: Floats, truth: NDArray[np.integer[Any]], head: str = "softmax"
) -> float:
    """The temperature with the lowest negative log-likelihood of the ensemble's mean.

    One temperature for the ensemble (Guo et al. 2017, applied to the mean), found by golden
    section in ln T over 0.05 to 20.

    Args:
        logits: ``[M, N, C]``, M members.
        truth: class index ``[N]``.
        head: ``softmax`` or ``sigmoid``.

    Raises:
        HemeError: there are no crops, or no such head.
    """
    if len(truth) == 0:
        raise HemeError("There are no crops to fit a temperature on.")
    ratio = (np.sqrt(5.0) - 1) / 2
    low, high = np.log(0.05), np.log(20.0)

    def loss(log_t: float) -> float:
        p = ensemble_probabilities(logits, float(np.exp(log_t)), head)
        return negative_log_likelihood(p, truth)

    while high - low > 1e-4:
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        if loss(a) < loss(b):
            high = b
        else:
            low = a
    return float(np.exp((low + high) / 2))


def fit_reject_threshold(
    probabilities: Floats, truth: NDArray[np.integer[Any]], accuracy: float = WANTED_ACCURACY
) -> float:
    """The lowest probability above which the kept names reach ``accuracy``.

    Args:
        probabilities: ``[N, C]``.
        truth: class index ``[N]``.
        accuracy: wanted among the kept.

    Returns:
        a threshold on the winner's probability; 0.999 where no threshold reaches it.
    """
    best = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    order = np.argsort(-best, kind="stable")
    kept_accuracy = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(kept_accuracy >= accuracy)
    if len(enough) == 0:
        return 0.999
    return round(float(best[order][enough[-1]]), 4)


def expected_calibration_error(
    probabilities: Floats, truth: NDArray[np.integer[Any]], bins: int = 15
) -> float:
    """ECE of the winning class over equal-width bins (Naeini et al. 2015), 0 to 1."""
    best = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    place = np.minimum((best * bins).astype(int), bins - 1)
    error = 0.0
    for b in range(bins):
        inside = place == b
        if inside.any():
            error += abs(best[inside].mean() - right[inside].mean()) * inside.mean()
    return float(error)


def fit_confidence(
    logits: Floats,
    truth: NDArray[np.integer[Any]],
    accuracy: float = WANTED_ACCURACY,
    head: str = "softmax",
) -> dict[str, Any]:
    """Temperature and reject threshold of an ensemble, and how well they fit.

    Args:
        logits: ``[M, N, C]``, of crops whose groups no network was trained on.
        truth: class index ``[N]``.
        accuracy: wanted among the cells that keep their name.
        head: ``softmax`` or ``sigmoid``.

    Returns:
        ``temperature``, ``reject_threshold``, ``ece``, ``n``, ``members``.
    """
    temperature = fit_temperature(logits, truth, head)
    probabilities = ensemble_probabilities(logits, temperature, head)
    return {
        "temperature": temperature,
        "reject_threshold": fit_reject_threshold(probabilities, truth, accuracy),
        "ece": expected_calibration_error(probabilities, truth),
        "n": len(truth),
        "members": len(logits),
    }


def read_confidence(path: Path) -> tuple[float, float]:
    """Temperature and reject threshold that ``heme-calibrate confidence -o`` wrote.

    Raises:
        HemeError: the file is not one.
    """
    try:
        content = json.loads(path.read_text())
        temperature, threshold = content["temperature"], content["reject_threshold"]
        if not (temperature > 0 and 0 <= threshold <= 1):
            raise ValueError("its values are out of range")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HemeError(f"'{path}' cannot be used: {error}", "Delete it") from error
    return float(temperature), float(threshold)
