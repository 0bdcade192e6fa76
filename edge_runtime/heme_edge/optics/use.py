"""An optics profile in a session: what it corrects, and what the outputs say of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heme_edge.bundle import Bundle
from heme_edge.crops import Image
from heme_edge.optics.apply import Corrector
from heme_edge.optics.profile import OpticsProfile, load_profile


@dataclass(frozen=True)
class Optics:
    """A profile in use; belongs to one thread.

    Attributes:
        profile: of the camera.
        corrector: maps the camera's white to that of the bundle's training crops.
        white_mapped: False where the bundle does not tell that.
    """

    profile: OpticsProfile
    corrector: Corrector
    white_mapped: bool

    def correct(self, image: Image) -> Image:
        """See ``Corrector.correct``."""
        return self.corrector.correct(image)

    def record(self) -> dict[str, Any]:
        """For outputs."""
        about = self.profile
        named = {key: getattr(about, key) for key in ("name", "camera", "objective", "created")}
        return named | {"white_rgb": list(about.white_rgb), "white_mapped": self.white_mapped}


def open_optics(path: Path | None, bundle: Bundle, say: Callable[[str], None]) -> Optics | None:
    """The profile of ``--optics``, ready for frames; None where none was given.

    Raises:
        OpticsError: the file cannot be used.
    """
    if path is None:
        return None
    profile = load_profile(path)
    target = bundle.info.optics.get("white_rgb")
    if target is None:
        say("The bundle does not tell its training background: the white point is left alone.")
    return Optics(profile, Corrector(profile, target), target is not None)
