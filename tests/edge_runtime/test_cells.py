import csv
from pathlib import Path

import pytest

from heme_edge.cells import CELL_CLASSES, DEEPHEME_CODES, cell_class
from heme_edge.errors import HemeError


def test_codes_are_unique_and_neighbours_known() -> None:
    codes = [c.code for c in CELL_CLASSES]
    assert len(set(codes)) == len(codes)
    for cell in CELL_CLASSES:
        assert cell.code not in cell.neighbours
        assert set(cell.neighbours) <= set(codes)
        assert not cell.parent or cell.parent in codes


def test_deepheme_classes_are_those_of_table_1(heme_data: Path) -> None:
    with (heme_data / "paper" / "table1-images.csv").open() as file:
        table = {row["code"]: row["name"].lower() for row in csv.DictReader(file)}
    table.pop("total", None)
    assert set(table) == set(DEEPHEME_CODES)
    assert {code: cell_class(code).name for code in table} == table


@pytest.mark.parametrize(("alias", "code"), [("E0", "E1"), ("m1", "M1"), (" er ", "ER")])
def test_aliases_and_spelling(alias: str, code: str) -> None:
    assert cell_class(alias).code == code


def test_giant_platelet_is_not_a_mitosis() -> None:
    assert cell_class("PL4").code == "PL4"
    assert cell_class("U4").name == "mitotic body"


def test_differential_is_that_of_icsh_2008() -> None:
    out = {c.code for c in CELL_CLASSES if not c.in_differential}
    assert out == {"ER5", "ER6", "PL", "PL2", "PL3", "PL4", "U1", "U4"}


def test_unknown_code_is_one_sentence() -> None:
    with pytest.raises(HemeError, match="'X9' is not a known cell class"):
        cell_class("X9")
