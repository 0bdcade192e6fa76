"""What is said wherever a bundle or its results are shown.

Accepted losses are the tolerances that a file of the bundle missed when it was exported, see
``Bundle.accepted_losses``; they stand beside the research-use notice.
"""

from __future__ import annotations

from collections.abc import Sequence

from heme_edge import RESEARCH_USE_ONLY


def notice(losses: Sequence[str]) -> str:
    """The research-use notice and, on lines of their own, the accepted losses."""
    return "\n".join([RESEARCH_USE_ONLY, *loss_lines(losses)])


def loss_lines(losses: Sequence[str]) -> list[str]:
    """A line for each accepted loss; none where nothing was lost."""
    return [f"Accepted at export: {loss}" for loss in losses]


def losses_in_short(losses: Sequence[str]) -> str:
    """One short ASCII line for where there is little room; empty where nothing was lost."""
    return f"accepted losses: {len(losses)}, see heme-edge doctor" if losses else ""
