"""The report: what it says, that it needs nothing else, and that names cannot break it."""

import csv
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from heme_edge import RESEARCH_USE_ONLY
from heme_edge.errors import HemeError
from heme_train import figures
from heme_train.answers import Answers
from heme_train.measure import Measured, measure
from heme_train.published import FIVE, THREE, load_published
from heme_train.report import Beside, load_evidence, write_report
from heme_train.report_tables import paper

FILES = {
    "report.html", "model-card.md", "metrics.json",
    "per_class.csv", "confusion.csv", "coverage.csv", "reliability.csv",
}  # fmt: skip


@pytest.fixture(scope="module")
def measured() -> Measured:
    rng = np.random.default_rng(0)
    codes = ("M1", "M2", "ER", "U4")
    members = rng.dirichlet(np.ones(4), (3, 90))
    truth = tuple(codes[i] for i in rng.integers(0, 3, 90))
    groups = tuple(f"s{i % 9}" for i in range(90))
    return measure(
        Answers(
            codes, members.mean(0), truth, groups, True, "<script>x</script> | run",
            {"precision": "fp32", "roles": ["test"]}, members, ("fold0", "fold1", "fold2"),
            ("A note & more.",), ("Split by image.",),
        )
    )  # fmt: skip


@pytest.fixture
def paper_folder(tmp_path: Path) -> Path:
    """Made-up tables in the paper's form, with two classes."""
    means = ",".join(f"{k}_mean,{k}_sd" for k in ("auc", "f1", "accuracy", "precision", "recall"))
    for name in ("s1-ucsf", "s2-msk"):
        rows = "".join(f"{c},0.9,0,0.8,0,0.99,0,0.7,0,0.6,0\n" for c in ("M1", "PL2"))
        (tmp_path / f"{name}.csv").write_text(f"code,{means}\n{rows}")
    readers = ",".join([f"fold{i}" for i in range(1, 6)] + [f"expert{i}" for i in range(1, 4)])
    for name in ("s3-experts-f1", "s4-experts-precision", "s5-experts-recall"):
        rows = "M1,0.5,0.6,0.7,0.8,0.9,0.1,0.2,0.3\n"
        (tmp_path / f"{name}.csv").write_text(f"code,{readers}\n{rows}")
    return tmp_path


def test_every_file_is_written(measured: Measured, tmp_path: Path, paper_folder: Path) -> None:
    out = tmp_path / "out"
    write_report(measured, out, Beside(load_published(paper_folder)))
    assert {p.name for p in out.iterdir()} == FILES
    metrics = json.loads((out / "metrics.json").read_text())
    assert {"accuracy", "ece", "nll", "macro", "high_performance_classes"} <= metrics.keys()
    assert set(metrics["macro"]) == {"auc", "precision", "recall", "f1"}
    assert {"n", "auc", "precision", "recall", "f1"} <= metrics["per_class"]["M1"].keys()
    with (out / "confusion.csv").open() as file:
        counts = np.array([row[1:] for row in csv.reader(file)][1:], int)
    assert (counts == measured.confusion).all()
    with (out / "per_class.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [r["code"] for r in rows] == ["M1", "M2", "ER"]
    assert float(rows[0]["recall_low95"]) <= float(rows[0]["recall"])
    with (out / "coverage.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 51
    with (out / "reliability.csv").open() as file:
        assert sum(int(r["n"]) for r in csv.DictReader(file)) == 90


def test_the_page_stands_alone_and_escapes(measured: Measured, tmp_path: Path) -> None:
    evidence = {"<b>other</b>": measured.metrics}
    write_report(measured, tmp_path, Beside(evidence=evidence, warnings=("Copies in two roles.",)))
    page = (tmp_path / "report.html").read_text()
    assert RESEARCH_USE_ONLY in page
    for words in ("Split by image.", "Copies in two roles.", "A note &amp; more.", "fold2"):
        assert words in page
    assert page.index("Copies in two roles.") < page.index("<h1>")
    assert "&lt;b&gt;other" in page
    for bad in ("<script", "<b>", "href=", "src=", "url(", "@import", "http"):
        assert bad not in page
    assert "Without a true example, so left out of the means: U4." in page
    assert "paper&#x27;s tables were not at hand" in page or "paper's tables were not" in page
    ET.fromstring(page.split("</style></head>")[1].replace("</html>", ""))
    card = (tmp_path / "model-card.md").read_text()
    assert RESEARCH_USE_ONLY in card
    assert "<script" not in card
    accuracy = measured.metrics["accuracy"]
    assert f"| Accuracy | {accuracy:.3f} | (" in card


def test_the_drawings_are_whole_xml(measured: Measured) -> None:
    drawings = [
        figures.heat_map(np.arange(9).reshape(3, 3), ["M1", "<&>", "L2"]),
        figures.reliability(measured.metrics["reliability"]),
        figures.coverage_curve(measured.curve, measured.metrics["coverage"]),
    ]
    for drawing in drawings:
        assert ET.fromstring(drawing).tag.endswith("svg")
    assert figures.shade(0) == "#ffffff"
    assert figures.shade(1) == "#08306b"


def test_the_paper_stands_beside_classes_of_its_own_code(
    measured: Measured, paper_folder: Path
) -> None:
    published = load_published(paper_folder)
    assert {t.title: t for t in published}[FIVE].scores["M1"]["f1"] == pytest.approx(0.7)
    assert {t.title: t for t in published}[THREE].scores["M1"]["recall"] == pytest.approx(0.2)
    table = paper(measured.metrics, published)
    assert table is not None
    assert [row[0] for row in table.rows] == ["M1", "mean"]
    assert table.rows[0][5:9] == ["0.90", "0.70", "0.60", "0.80"]
    assert sum(n for _, n in table.over) == len(table.header) == len(table.rows[0])
    assert paper({"per_class": {"ER": {}}}, published) is None


def test_the_real_tables_of_the_paper(heme_data: Path) -> None:
    ucsf, _, five, three = load_published(heme_data / "paper")
    assert len(ucsf.scores) == 23
    assert ucsf.scores["M1"] == {"auc": 0.98, "precision": 0.74, "recall": 0.71, "f1": 0.72}
    mean = {t.title: np.mean([s["precision"] for s in t.scores.values()]) for t in (five, three)}
    assert mean == {FIVE: pytest.approx(0.90, abs=0.005), THREE: pytest.approx(0.78, abs=0.005)}


def test_wrong_papers_and_evidence_are_sentences(paper_folder: Path, tmp_path: Path) -> None:
    (paper_folder / "s2-msk.csv").write_text("code,auc\nM1,0.9\n")
    with pytest.raises(HemeError, match="not the paper's table"):
        load_published(paper_folder)
    (tmp_path / "m.json").write_text("{}")
    for item in ("x=/nowhere/m.json", f"x={tmp_path / 'm.json'}", "words"):
        with pytest.raises(HemeError, match=r"is not TITLE=metrics\.json"):
            load_evidence([item])
