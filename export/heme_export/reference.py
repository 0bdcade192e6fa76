"""Reference crops: simulated cells, so that a bundle carries no image of anybody."""

from __future__ import annotations

import numpy as np

from heme_edge.crops import CropSampler, Image
from heme_edge.sim import draw_smear


def simulated_crops(seed: int, count: int = 48) -> Image:
    """uint8 ``[count, 96, 96, 3]`` crops of drawn cells, classes in a marrow's proportions."""
    smear = draw_smear(seed, width_um=420.0, height_um=320.0)
    sampler = CropSampler(smear.image, smear.um_per_px)
    nucleated = [cell for cell in smear.cells if cell.code != "PL"]
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(nucleated))[:count]
    places = [(nucleated[i].x_um, nucleated[i].y_um) for i in chosen]
    return np.stack([sampler.cut(x / smear.um_per_px, y / smear.um_per_px) for x, y in places])
