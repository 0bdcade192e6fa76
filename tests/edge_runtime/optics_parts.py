"""Fields with red cells, spoilt in ways that are known, for the tests of optics."""

import numpy as np

from heme_edge.crops import Image
from heme_edge.optics.profile import GRID, OpticsProfile
from heme_edge.sim import draw_smear

SIZE = (960, 540)
UM_PER_PX = 0.3
GAINS = (1.0, 0.8, 0.55)


def smears(count: int, um_per_px: float = UM_PER_PX) -> list[Image]:
    """Drawn fields of 960x540 px, each another."""
    width, height = (side * um_per_px for side in SIZE)
    return [
        draw_smear(50 + k, width_um=width, height_um=height, um_per_px=um_per_px).image
        for k in range(count)
    ]


def light(vignette: float, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Full in the middle, ``1 - vignette`` in the corners, times ``GAINS``: ``[H, W, 3]``."""
    x, y = np.linspace(-1, 1, size[0])[None], np.linspace(-1, 1, size[1])[:, None]
    return (1 - vignette * (x * x + y * y) / 2)[..., None] * np.array(GAINS)


def dimmed(image: Image, by: np.ndarray) -> Image:
    return np.clip(np.rint(image * by), 0, 255).astype(np.uint8)


def even_profile(**changed: object) -> OpticsProfile:
    """A profile that changes nothing, but for ``changed``."""
    content: dict[str, object] = {
        "um_per_px": 0.3,
        "um_per_px_low95": 0.28,
        "um_per_px_high95": 0.33,
        "um_per_px_source": "red-cells",
        "white_rgb": (240.0, 230.0, 220.0),
        "flat_field": np.ones((*GRID, 3), np.float32),
        "round_field": None,
        "width_px": SIZE[0],
        "height_px": SIZE[1],
    }
    return OpticsProfile(**(content | changed))  # type: ignore[arg-type]  # fields of any kind
