"""The stop rule: exact against SciPy; wrong no oftener than it says, however often one looks."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.special import betaln
from scipy.stats import betabinom, binomtest

from heme_edge.errors import HemeError
from heme_edge.stop_rule import (
    ABOVE,
    ALPHA,
    BELOW,
    OPEN,
    Goal,
    StopRule,
    anytime_interval,
    log_beta,
    log_ratio,
)
from heme_edge.tally import Tally, wilson

RULE = StopRule("M1", 20.0)
LOOKS = 2000


def tally(blasts: int, others: int) -> Tally:
    return Tally({"M1": "myeloid blast", "L2": "lymphocyte"}, Counter(M1=blasts, L2=others))


@pytest.mark.parametrize("total", [1, 7, 100, 500, 12345])
def test_plain_intervals_are_scipys(total: int) -> None:
    for count in {0, 1, total // 20, total // 2, total - 1, total}:
        theirs = binomtest(count, total).proportion_ci(method="wilson")
        assert wilson(count, total) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_the_mixture_is_the_beta_binomial() -> None:
    for total in (1, 20, 500, 20_000):
        for count in {0, 1, total // 3, total}:
            ours = log_beta(1 + count, 1 + total - count)
            assert ours == pytest.approx(betaln(1 + count, 1 + total - count), abs=1e-9, rel=1e-9)
            marginal = betabinom.logpmf(count, total, 1, 1)
            orders = -np.log(total + 1) - betaln(total - count + 1, count + 1)
            assert orders + ours == pytest.approx(marginal, abs=1e-9)


def test_the_interval_ends_where_the_ratio_reaches_its_limit() -> None:
    low, high = anytime_interval(30, 200)
    for border in (low, high):
        assert log_ratio(30, 200, border) == pytest.approx(-np.log(ALPHA), abs=1e-9)
    plain = wilson(30, 200)
    assert low < plain[0] < 0.15 < plain[1] < high
    assert anytime_interval(0, 0) == (0.0, 1.0)
    assert anytime_interval(0, 50)[0] == 0.0
    assert anytime_interval(50, 50)[1] == 1.0


def borders(threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """For each total the largest count that says below, and the smallest that says above."""
    below, above = np.full(LOOKS + 1, -1), np.full(LOOKS + 1, LOOKS + 1)
    rule = StopRule("M1", 100 * threshold)
    lower, upper = -1, 1
    for total in range(1, LOOKS + 1):
        while rule._side(lower + 1, total) == BELOW:
            lower += 1
        while upper <= total and rule._side(upper, total) != ABOVE:
            upper += 1
        below[total], above[total] = lower, upper
    return below, above


def test_error_rate_over_all_looks_is_what_it_says() -> None:
    """On the threshold any decision is wrong; beside it, one for the other side is."""
    generator = np.random.default_rng(20)
    below, above = (limit[1:] for limit in borders(0.2))
    for p, least_decided in ((0.2, 0.0), (0.19, 0.0), (0.21, 0.0), (0.1, 0.99), (0.3, 0.99)):
        counts = np.cumsum(generator.random((2000, LOOKS)) < p, axis=1, dtype=np.int32)
        said_below, said_above = counts <= below, counts >= above
        first = np.argmax(said_below | said_above, axis=1)
        runs = np.arange(len(counts))
        decided = (said_below | said_above)[runs, first]
        wrong = {0.2: decided, 0.19: said_above[runs, first], 0.1: said_above[runs, first]}.get(
            p, said_below[runs, first]
        )
        assert np.mean(wrong & decided) <= ALPHA
        assert np.mean(decided) >= least_decided


def test_error_rate_on_the_threshold_is_exactly_bounded() -> None:
    """The probability itself, not a sample of it: every path of 2,000 cells."""
    below, above = borders(0.2)
    alive, stopped = np.zeros(LOOKS + 2), 0.0
    alive[0] = 1.0
    for total in range(1, LOOKS + 1):
        alive[1:] = 0.2 * alive[:-1] + 0.8 * alive[1:]
        alive[0] *= 0.8
        for part in (alive[: below[total] + 1], alive[above[total] :]):
            stopped += part.sum()
            part[:] = 0
    assert 0.01 < stopped <= ALPHA


def test_plain_intervals_looked_at_after_every_cell_would_err() -> None:
    """Why there is another interval at all."""
    generator = np.random.default_rng(3)
    counts = np.cumsum(generator.random((500, 500)) < 0.2, axis=1)
    totals = np.arange(1, 501)
    half = 1.96 * np.sqrt(0.2 * 0.8 / totals)
    assert np.mean(np.any(np.abs(counts / totals - 0.2)[:, 20:] > half[20:], axis=1)) > 4 * ALPHA


def test_outlook_says_the_side_and_about_how_many_more() -> None:
    early = RULE.outlook(tally(10, 90))
    assert early.side == OPEN
    assert early.more is not None
    tens = 1 + (100 + early.more) // 10
    then = tally(tens, 9 * tens)
    assert RULE.outlook(then).side == BELOW
    assert RULE.outlook(then).more == 0
    assert RULE.outlook(tally(80, 120)).side == ABOVE
    assert RULE.outlook(tally(0, 0)).more is None
    assert RULE.outlook(tally(20, 80)).more is None, "exactly on the threshold: never"
    assert RULE.outlook(tally(0, 3)).side == OPEN


def test_a_goal_is_all_of_what_is_given() -> None:
    assert not Goal().reached(tally(0, 1000))
    assert Goal(500).reached(tally(100, 400))
    assert not Goal(500).reached(tally(100, 399))
    assert not Goal(500, RULE).reached(tally(100, 400)), "20 % of 500 is open"
    assert Goal(500, RULE).reached(tally(10, 490))
    assert not Goal(0, RULE).reached(tally(0, 0))


@pytest.mark.parametrize("text", ["", "M1", "M1 x", "M1 0", "M1 100", "XX 20", "PL2 5", "M1 nan"])
def test_a_rule_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(HemeError):
        StopRule.parse(text)


def test_a_rule_is_read() -> None:
    assert StopRule.parse("m1 20 %") == RULE
    assert StopRule.parse("M1 20%") == RULE


def test_a_class_the_bundle_does_not_know_is_one_sentence() -> None:
    with pytest.raises(HemeError, match="does not know the class L4"):
        StopRule("L4", 10).outlook(tally(1, 1))
