"""When to stop counting: an interval that may be looked at after every cell.

Wilson's interval is right at one look that was planned. Who looks after every cell and stops at
the first interval that clears a threshold is wrong far more often than one time in twenty: of a
class that *is* 20 %, sooner or later some 95 % interval says it is not. The interval here holds at
all looks together. It is the mixture of Robbins (1970): under the proportion ``p`` the ratio

    M(p) = B(1 + k, 1 + n - k) / (p^k (1 - p)^(n - k))

of the likelihood averaged over all proportions (Beta(1, 1), that is, the beta-binomial marginal of
one order of the cells) to the likelihood of ``p`` is a martingale that begins at 1, so that by
Ville's inequality it ever reaches ``1 / 0.05`` with probability 0.05 at most. The proportions whose
ratio is below that are the interval.

Robbins H. *Statistical methods related to the law of the iterated logarithm.* Ann Math Stat
1970;41:1397-1409. Howard SR, Ramdas A, McAuliffe J, Sekhon J. *Time-uniform, nonparametric,
nonasymptotic confidence sequences.* Ann Stat 2021;49:1055-1080.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from heme_edge.cells import cell_class
from heme_edge.errors import HemeError
from heme_edge.tally import Tally

ALPHA = 0.05
"""Probability that the interval ever misses the true proportion, over all looks."""
MOST_CELLS = 100_000
"""Further cells that are spoken of at most."""
BELOW, ABOVE, OPEN = "below", "above", "open"
STEPS = 60
"""Halvings of an interval of proportions: to the precision of a float."""


def log_ratio(count: float, total: float, p: float) -> float:
    """Natural logarithm of ``M(p)``, see above.

    Args:
        count: cells of the class; need not be whole where a count to come is meant.
        total: cells counted.
        p: proportion, 0 to 1; infinite where 0 or 1 is not possible any more.
    """
    return log_beta(1 + count, 1 + total - count) - _log_likelihood(count, total, p)


def log_beta(a: float, b: float) -> float:
    """Natural logarithm of the beta function."""
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _log_likelihood(count: float, total: float, p: float) -> float:
    if (p <= 0 and count > 0) or (p >= 1 and count < total):
        return -math.inf
    said = count * math.log(p) if count > 0 else 0.0
    return said + ((total - count) * math.log1p(-p) if count < total else 0.0)


def anytime_interval(count: float, total: float) -> tuple[float, float]:
    """The proportions 0..1 that are still possible, right at all looks together (95 %).

    Args:
        count: cells of the class.
        total: cells counted; 0 gives (0, 1).
    """
    if total <= 0:
        return 0.0, 1.0
    middle = count / total
    return _border(count, total, middle, 0.0), _border(count, total, middle, 1.0)


def _border(count: float, total: float, inside: float, outside: float) -> float:
    """Where the ratio reaches its limit between the observed proportion and 0 or 1."""
    if log_ratio(count, total, outside) < -math.log(ALPHA):
        return outside
    for _ in range(STEPS):
        middle = (inside + outside) / 2
        if log_ratio(count, total, middle) < -math.log(ALPHA):
            inside = middle
        else:
            outside = middle
    return outside


@dataclass(frozen=True)
class Outlook:
    """How a stop rule stands.

    Attributes:
        count, total: cells of the class, and counted cells.
        low95, high95: percent, right at all looks together.
        side: ``below`` or ``above`` the threshold; ``open`` while the interval holds it.
        more: about how many more counted cells decide it if the proportion stays what it is
            today; 0 where it is decided, None where that is more than 100,000.
    """

    count: int
    total: int
    low95: float
    high95: float
    side: str
    more: int | None


@dataclass(frozen=True)
class StopRule:
    """Go on until the interval of a class clears a threshold.

    Attributes:
        code: of the class.
        percent: threshold, of counted nucleated cells.
    """

    code: str
    percent: float

    @classmethod
    def parse(cls, text: str) -> StopRule:
        """From ``M1 20``; a sign ``%`` may follow.

        Raises:
            HemeError: it is not a class of the differential and a percentage between 0 and 100.
        """
        code, _, percent = text.strip().rstrip("% ").partition(" ")
        try:
            rule = cls(cell_class(code).code, float(percent))
        except ValueError:
            rule = cls(code, math.nan)
        if not 0 < rule.percent < 100:
            raise HemeError(f"'{text}' is not a class and a percentage.", "--until 'M1 20'")
        if not cell_class(rule.code).in_differential:
            raise HemeError(f"{rule.code} is not counted in a differential.", "--until 'M1 20'")
        return rule

    def outlook(self, tally: Tally) -> Outlook:
        """How the rule stands.

        Raises:
            HemeError: the bundle does not know the class.
        """
        if self.code not in tally.names:
            raise HemeError(
                f"The bundle does not know the class {self.code}.",
                f"Its classes: {', '.join(tally.names)}",
            )
        count, total = tally.counted[self.code], tally.total
        low, high = anytime_interval(count, total)
        return Outlook(
            count, total, 100 * low, 100 * high, self._side(count, total), self._more(count, total)
        )

    def _side(self, count: float, total: float) -> str:
        threshold = self.percent / 100
        if log_ratio(count, total, threshold) < -math.log(ALPHA):
            return OPEN
        return ABOVE if count / total > threshold else BELOW

    def _more(self, count: int, total: int) -> int | None:
        """An estimate: the least total that is decided when the proportion stays the same.

        With no or only such cells so far the proportion is taken as half a cell more or less.
        """
        if self._side(count, total) != OPEN:
            return 0
        if total == 0:
            return None
        p = min(max(count, 0.5), total - 0.5) / total if total > 1 else 0.5
        undecided, decided = total, total + MOST_CELLS
        if self._side(p * decided, decided) == OPEN:
            return None
        while decided - undecided > 1:
            middle = (undecided + decided) // 2
            if self._side(p * middle, middle) == OPEN:
                undecided = middle
            else:
                decided = middle
        return decided - total


@dataclass(frozen=True)
class Goal:
    """When counting is done: all of what is given.

    Attributes:
        target: counted nucleated cells, or 0.
        rule: the stop rule, or None.
    """

    target: int = 0
    rule: StopRule | None = None

    def reached(self, tally: Tally) -> bool:
        """Whether there is a goal, and it is reached."""
        if not self.target and self.rule is None:
            return False
        ruled = self.rule is None or self.rule.outlook(tally).side != OPEN
        return ruled and tally.total >= self.target
