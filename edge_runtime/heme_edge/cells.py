"""The cell classes: DeepHeme's 23 codes, two parents, and what each means in a differential.

Codes and names are Table 1 of Goldgof, Sun et al. (DeepHeme). Which cells enter the
nucleated differential is the list of the ICSH guideline: Lee SH, Erber WN, Porwit A,
Tomonaga M, Peterson LC. *ICSH guidelines for the standardization of bone marrow specimens
and reports.* Int J Lab Hematol 2008;30:349-364 (blasts to segmented neutrophils,
eosinophils, basophils, mast cells, monocytes, lymphocytes, plasma cells, erythroblasts; not
megakaryocytes, platelets, erythrocytes, mitoses or smudged cells).

A bundle names its own classes, a subset of these; nothing here says how many there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from heme_edge.errors import HemeError


@dataclass(frozen=True)
class CellClass:
    """One class of the vocabulary.

    Attributes:
        code: DeepHeme code, or a parent code (``ER``, ``PL``).
        name: the field's standard term, lower case.
        lineage: ``granulocytic``, ``erythroid``, ``lymphoid``, ``monocytic``,
            ``megakaryocytic`` or ``other``.
        maturation: order within the lineage, 1 = least mature; 0 where it has none.
        neighbours: codes it is confused with for biological reasons (next stage, look-alike).
        parent: code of the broader class, or empty.
        aliases: other codes met in published files.
        in_differential: whether ICSH 2008 counts it among the nucleated cells.
    """

    code: str
    name: str
    lineage: str
    maturation: int
    neighbours: tuple[str, ...]
    in_differential: bool
    parent: str = ""
    aliases: tuple[str, ...] = ()


def _c(
    code: str,
    name: str,
    lineage: str,
    maturation: int,
    neighbours: str,
    counted: bool,
    parent: str = "",
    aliases: str = "",
) -> CellClass:
    return CellClass(
        code,
        name,
        lineage,
        maturation,
        tuple(neighbours.split()),
        counted,
        parent,
        tuple(aliases.split()),
    )


CELL_CLASSES: tuple[CellClass, ...] = (
    _c("M1", "myeloid blast", "granulocytic", 1, "M2 ER1 MO2 L2", True),
    _c("M2", "promyelocyte", "granulocytic", 2, "M1 M3", True),
    _c("M3", "myelocyte", "granulocytic", 3, "M2 M4", True),
    _c("M4", "metamyelocyte", "granulocytic", 4, "M3 M5 MO2", True),
    _c("M5", "band neutrophil", "granulocytic", 5, "M4 M6", True),
    _c("M6", "segmented neutrophil", "granulocytic", 6, "M5", True),
    _c("E1", "immature eosinophil", "granulocytic", 3, "E4 M3", True, aliases="E0"),
    _c("E4", "mature eosinophil", "granulocytic", 6, "E1 M6", True),
    _c("B1", "mast cell", "granulocytic", 0, "B2", True),
    _c("B2", "basophil", "granulocytic", 6, "B1", True),
    _c("ER1", "pronormoblast", "erythroid", 1, "ER2 M1", True, "ER"),
    _c("ER2", "basophilic normoblast", "erythroid", 2, "ER1 ER3", True, "ER"),
    _c("ER3", "polychromatophilic normoblast", "erythroid", 3, "ER2 ER4 L2", True, "ER"),
    _c("ER4", "orthochromic normoblast", "erythroid", 4, "ER3 ER5", True, "ER"),
    _c("ER", "normoblast, stage not told", "erythroid", 0, "L2 L4", True),
    _c("ER5", "polychromatophilic erythrocyte", "erythroid", 5, "ER4 ER6", False),
    _c("ER6", "mature erythrocyte", "erythroid", 6, "ER5", False),
    _c("L2", "lymphocyte", "lymphoid", 2, "L4 ER3 M1 ER", True),
    _c("L4", "plasma cell", "lymphoid", 4, "L2 ER", True),
    _c("MO2", "monocyte", "monocytic", 2, "M1 M4", True),
    _c("PL2", "megakaryocyte", "megakaryocytic", 2, "", False),
    _c("PL3", "platelet clump", "megakaryocytic", 3, "PL4", False, "PL"),
    _c("PL4", "giant platelet", "megakaryocytic", 4, "PL3", False, "PL"),
    _c("PL", "platelet, single or clump", "megakaryocytic", 0, "", False),
    _c("U1", "artifact", "other", 0, "", False),
    _c("U4", "mitotic body", "other", 0, "", False),
)

EXTRA_CODES = frozenset({"ER", "PL", "PL4"})
"""Codes that are not among DeepHeme's 23: the two parents, and the giant platelet."""

DEEPHEME_CODES: tuple[str, ...] = tuple(
    sorted(c.code for c in CELL_CLASSES if c.code not in EXTRA_CODES)
)
ARTIFACT_CODE = "U1"


@lru_cache(maxsize=1)
def _by_code() -> dict[str, CellClass]:
    table = {cell.code: cell for cell in CELL_CLASSES}
    table.update({alias: cell for cell in CELL_CLASSES for alias in cell.aliases})
    return table


def cell_class(code: str) -> CellClass:
    """The class of a code or alias, in any case.

    Raises:
        HemeError: the code is not in the vocabulary.
    """
    found = _by_code().get(code.strip().upper())
    if found is None:
        known = ", ".join(c.code for c in CELL_CLASSES)
        raise HemeError(f"'{code}' is not a known cell class.", f"Known codes: {known}")
    return found


def is_known(code: str) -> bool:
    """Whether ``code`` is a code or alias of the vocabulary."""
    return code.strip().upper() in _by_code()
