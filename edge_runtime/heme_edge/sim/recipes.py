"""How each class of cell looks, and how often it occurs."""

from __future__ import annotations

from dataclasses import dataclass

from heme_edge.sim import palette
from heme_edge.sim.palette import Field

Range = tuple[float, float]


@dataclass(frozen=True)
class Granules:
    """One kind of granule.

    Attributes:
        stain: density vector of a granule.
        amount: units of it in one granule.
        size_um: diameter.
        per_um2: how dense they lie.
        on_nucleus: share of their colour that also shows over the nucleus.
    """

    stain: Field
    amount: float
    size_um: float
    per_um2: float
    on_nucleus: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """How one class is drawn. Ranges are drawn from evenly.

    Attributes:
        diameter_um: the whole cell.
        nucleus: a key of ``nuclei.SHAPES``.
        share: size of the nucleus as a share of the cell's area.
        chromatin: density units of the nucleus.
        clump: contrast of the chromatin, 0..1.
        clump_um: grain of the chromatin.
        cytoplasm: stain of the cytoplasm.
        amount: units of it.
        second, second_amount: another stain in the cytoplasm.
        nucleoli: how many pale nucleoli.
        eccentric: how far the nucleus sits to one side, 0..1.
        hof: paleness of a zone beside the nucleus, 0..1.
        wobble: unevenness of the outline.
        vacuoles: holes per µm².
        rim: extra cytoplasm stain at the edge of the cell.
        granules: kinds of granules.
    """

    diameter_um: Range
    nucleus: str
    share: Range
    chromatin: Range
    clump: float
    clump_um: float
    cytoplasm: Field
    amount: Range
    second: Field | None = None
    second_amount: Range = (0.0, 0.0)
    nucleoli: int = 0
    eccentric: Range = (0.0, 0.4)
    hof: float = 0.0
    wobble: float = 0.03
    vacuoles: float = 0.0
    rim: float = 0.0
    granules: tuple[Granules, ...] = ()


_NEUTROPHIL = (
    Granules(palette.SPECIFIC_GRANULE, 0.55, 0.35, 2.6),
    Granules(palette.AZURE_GRANULE, 0.35, 0.4, 0.25),
)
_BLUE, _PINK = palette.BASOPHILIA, palette.NEUTROPHIL_PINK

RECIPES: dict[str, Recipe] = {
    "M1": Recipe(
        (14, 18), "round", (0.72, 0.84), (0.70, 0.88), 0.20, 0.55, _BLUE, (0.75, 1.05),
        nucleoli=3, wobble=0.035, rim=0.25,
    ),
    "M2": Recipe(
        (15.5, 19), "round", (0.44, 0.58), (0.80, 0.97), 0.30, 0.6, _BLUE, (0.5, 0.75),
        second=_PINK, second_amount=(0.2, 0.5), nucleoli=2, eccentric=(0.4, 0.9),
        hof=0.45, wobble=0.04, rim=0.15,
        granules=(Granules(palette.AZURE_GRANULE, 0.7, 0.42, 2.0, on_nucleus=0.35),),
    ),
    "M3": Recipe(
        (12.5, 16), "oval", (0.42, 0.54), (0.86, 1.01), 0.40, 0.7, _BLUE, (0.25, 0.5),
        second=_PINK, second_amount=(0.5, 0.8), eccentric=(0.4, 0.9), wobble=0.04,
        granules=(
            Granules(palette.SPECIFIC_GRANULE, 0.5, 0.35, 2.4),
            Granules(palette.AZURE_GRANULE, 0.5, 0.42, 0.6),
        ),
    ),
    "M4": Recipe(
        (12.5, 15.5), "indented", (0.40, 0.50), (0.88, 1.04), 0.38, 0.8, _PINK, (0.65, 0.95),
        second=_BLUE, second_amount=(0.08, 0.28), eccentric=(0.2, 0.6), wobble=0.04,
        granules=_NEUTROPHIL,
    ),
    "M5": Recipe(
        (12, 14), "band", (0.52, 0.62), (0.94, 1.08), 0.38, 0.8, _PINK, (0.55, 0.85),
        eccentric=(0.0, 0.3), granules=_NEUTROPHIL,
    ),
    "M6": Recipe(
        (12, 14), "segmented", (0.48, 0.60), (0.96, 1.13), 0.38, 0.8, _PINK, (0.5, 0.8),
        eccentric=(0.0, 0.3), granules=_NEUTROPHIL,
    ),
    "E4": Recipe(
        (12.5, 15), "bilobed", (0.42, 0.52), (0.9, 1.05), 0.36, 0.8, palette.EOSIN_GRANULE,
        (0.40, 0.55), eccentric=(0.3, 0.8),
        granules=(Granules(palette.EOSIN_GRANULE, 0.65, 0.6, 1.9, on_nucleus=0.15),),
    ),
    "B2": Recipe(
        (11, 14), "bilobed", (0.55, 0.66), (0.68, 0.85), 0.3, 0.9, _PINK, (0.9, 1.3),
        second=_BLUE, second_amount=(0.1, 0.3),
        granules=(Granules(palette.BASOPHIL_GRANULE, 0.75, 0.75, 1.25, on_nucleus=0.5),),
    ),
    "L2": Recipe(
        (8, 10.5), "round", (0.74, 0.88), (0.96, 1.14), 0.26, 1.0, _BLUE, (0.55, 0.9),
        eccentric=(0.2, 0.9), wobble=0.045,
    ),
    "MO2": Recipe(
        (14, 18), "folded", (0.42, 0.54), (0.75, 0.92), 0.36, 0.75, palette.MONOCYTE_GREY,
        (0.75, 1.0), second=_BLUE, second_amount=(0.15, 0.4), eccentric=(0.0, 0.4),
        wobble=0.06, vacuoles=0.05, granules=(Granules(palette.AZURE_GRANULE, 0.28, 0.35, 1.6),),
    ),
    "ER2": Recipe(
        (10.5, 13), "round", (0.58, 0.68), (0.98, 1.12), 0.34, 0.8, _BLUE, (1.0, 1.35),
        eccentric=(0.0, 0.3), hof=0.2,
    ),
    "ER3": Recipe(
        (9, 11.5), "round", (0.36, 0.48), (1.12, 1.3), 0.30, 0.8, _BLUE, (0.4, 0.65),
        second=palette.HAEMOGLOBIN, second_amount=(0.5, 0.8), eccentric=(0.1, 0.5),
    ),
    "ER4": Recipe(
        (8, 10), "round", (0.24, 0.34), (1.4, 1.65), 0.08, 0.8, palette.HAEMOGLOBIN, (0.9, 1.2),
        second=_BLUE, second_amount=(0.08, 0.25), eccentric=(0.3, 0.9),
    ),
    "L4": Recipe(
        (13, 17), "round", (0.30, 0.38), (1.05, 1.2), 0.40, 1.2, _BLUE, (1.1, 1.4),
        eccentric=(0.85, 1.0), hof=0.55, wobble=0.05,
    ),
    "PL2": Recipe(
        (30, 80), "many-lobed", (0.25, 0.45), (0.8, 1.05), 0.35, 1.2, _PINK, (0.7, 1.1),
        second=_BLUE, second_amount=(0.1, 0.35), eccentric=(0.0, 0.4), wobble=0.09,
        granules=(Granules(palette.AZURE_GRANULE, 0.4, 0.4, 1.5),),
    ),
    "U4": Recipe(
        (14, 19), "plates", (0.25, 0.4), (1.2, 1.5), 0.15, 0.5, _BLUE, (0.5, 0.9), wobble=0.04,
    ),
}  # fmt: skip
STAGES = {"ER": ("ER2", "ER3", "ER3", "ER4")}
"""A parent class is drawn as one of these, by chance."""

NORMAL_MARROW: dict[str, float] = {
    "M1": 1.4, "M2": 7.8, "M3": 7.6, "M4": 4.1, "M5": 12.0, "M6": 22.0, "E4": 3.5,
    "B2": 0.3, "ER": 25.9, "L2": 13.1, "MO2": 1.3,
}  # fmt: skip
"""Per cent of nucleated cells in about the proportions of a healthy adult's marrow, M:E 2.3
(compare Bain BJ. *The bone marrow aspirate of healthy subjects.* Br J Haematol 1996;94:206-209).
For drawing only: no reference range."""
