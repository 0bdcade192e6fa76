"""What a profile says, in words."""

from __future__ import annotations

from collections.abc import Iterator

from heme_edge.optics.profile import OpticsProfile


def lines(profile: OpticsProfile, fields: int) -> Iterator[str]:
    """The profile for people; ``fields`` is on how many pictures it was measured."""
    yield (
        f"Scale: {profile.um_per_px:.4g} µm/px ({profile.um_per_px_low95:.3g}-"
        f"{profile.um_per_px_high95:.3g}), {profile.um_per_px_source}."
    )
    red, green, blue = profile.white_rgb
    yield f"White: {red:.0f}, {green:.0f}, {blue:.0f}, on {fields} fields."
    lost = 1 - 1 / float(profile.flat_field.max())
    yield f"Flat field: up to {lost:.0%} of the light is lost."
    field = profile.round_field
    yield (
        f"Field of view: round, {2 * field.radius:.0%} of the frame's width across."
        if field
        else "Field of view: the whole frame."
    )
