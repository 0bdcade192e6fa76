"""``--target`` and ``--until`` without a page: counting ends when both are reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from heme_edge.live.analyser import Analysed, CountedCell
from heme_edge.live.camera import Camera
from heme_edge.live.request import Request
from heme_edge.stop_rule import Goal, StopRule
from heme_edge.tally import Tally


def goal_of(request: Request, tally: Tally) -> Goal:
    """What was asked for.

    Raises:
        HemeError: the stop rule is none, or of a class that the bundle does not know.
    """
    goal = Goal(request.target, StopRule.parse(request.until) if request.until else None)
    goal.reached(tally)  # says so where the bundle does not know the class
    return goal


class StopAtGoal:
    """A `Show` that says nothing, and stops when the goal is reached.

    Args:
        goal: when counting is done.
        stop: ends the session.
    """

    def __init__(self, goal: Goal, stop: Callable[[], None]) -> None:
        self._goal, self._stop = goal, stop

    def begin(self, cameras: Sequence[Camera]) -> None:
        """Nothing is counted yet."""

    def frame(self, camera: Camera, analysed: Analysed, age_ms: float) -> None:
        """Looks at the tally, which is that of all cameras, where it has changed."""
        if analysed.counted and self._goal.reached(camera.analyser.tally):
            self._stop()

    def end(self, camera: Camera, counted: Sequence[CountedCell]) -> None:
        """It is over."""
