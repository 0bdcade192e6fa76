"""The model bundle: a folder that is verified before anything in it is used.

``bundle.json`` names every file with its SHA-256; nothing outside the folder is read, no
pickle is loaded, and a bundle this version cannot honour is refused with one sentence.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heme_edge.cells import is_known
from heme_edge.crops import CROP_PX, CROP_UM_PER_PX, Image
from heme_edge.errors import BundleError

FORMAT = "heme-edge-bundle"
FORMAT_VERSION = 1
MANIFEST, REFERENCE, CONFUSION, CARD = (
    "bundle.json",
    "reference.npz",
    "confusion.csv",
    "MODEL_CARD.md",
)
SCHEMES = {
    "fp32": ("float",),
    "fp16": ("float",),
    "int8": ("u8-asymmetric", "s8-symmetric", "s8-symmetric-fp16"),
}
HEADS = ("softmax", "sigmoid")
MAX_MANIFEST_BYTES = 4_000_000
DEFAULT_BUNDLE = Path(__file__).parent / "bundles" / "default"


@dataclass(frozen=True)
class BundleClass:
    """A class this model names, and how many training images it saw of it, by source."""

    code: str
    name: str
    train_images: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelFile:
    """One ONNX file of a bundle.

    Attributes:
        file: name inside the bundle.
        precision: ``fp32``, ``fp16`` or ``int8``.
        scheme: ``float``, ``u8-asymmetric``, ``s8-symmetric`` or ``s8-symmetric-fp16``.
        opset: ONNX operator set.
        tolerance: largest mean absolute difference of probabilities from ``reference.npz``
            with which a machine may use the file.
        sha256: of the file, lower-case hex; filled in by ``write_bundle``.
    """

    file: str
    precision: str
    scheme: str
    opset: int
    tolerance: float
    sha256: str = ""


@dataclass(frozen=True)
class BundleInfo:
    """The contents of ``bundle.json``; see DESIGN for the meaning of the open tables."""

    name: str
    classes: tuple[BundleClass, ...]
    models: tuple[ModelFile, ...]
    head: str
    temperature: float
    reject_threshold: float
    calibration: dict[str, Any] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    accuracy: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    training_data: tuple[dict[str, str], ...] = ()
    detector: dict[str, Any] = field(default_factory=dict)
    optics: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes:
        path: its folder.
        info: what ``bundle.json`` says.
        digest: SHA-256 of ``bundle.json``, which names all other files: the bundle's identity.
    """

    path: Path
    info: BundleInfo
    digest: str

    @property
    def codes(self) -> tuple[str, ...]:
        """Class codes in the order of the model's outputs."""
        return tuple(c.code for c in self.info.classes)

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions there is a file for, without repetition."""
        return tuple(dict.fromkeys(m.precision for m in self.info.models))

    @property
    def accepted_losses(self) -> tuple[str, ...]:
        """A sentence for each tolerance that a file missed, and was accepted to, when exported."""
        return tuple(self.info.parity.get("accepted", ()))

    def model(self, precision: str, schemes: tuple[str, ...]) -> ModelFile:
        """The file of a precision in the first of the schemes the backend can run.

        Raises:
            BundleError: there is none.
        """
        for scheme in schemes:
            for model in self.info.models:
                if (model.precision, model.scheme) == (precision, scheme):
                    return model
        raise BundleError(
            f"The bundle '{self.info.name}' holds no {precision} model for this backend.",
            f"--precision {'|'.join(self.precisions)}",
        )

    def reference(self) -> tuple[Image, NDArray[np.float32]]:
        """Reference crops uint8 ``[N, 96, 96, 3]`` and their fp32 probabilities ``[N, C]``.

        Raises:
            BundleError: the file is not what it should be.
        """
        path = self.path / REFERENCE
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                names = ("crops", "probabilities")
                crops, probabilities = (np.asarray(arrays[name]) for name in names)
        except Exception as error:  # zipfile, zlib and NumPy each raise their own types
            raise BundleError(f"'{path}' cannot be used: {error}") from error
        kinds = (crops.dtype.name, probabilities.dtype.kind)
        fits = kinds == ("uint8", "f") and crops.shape[1:] == (CROP_PX, CROP_PX, 3)
        if not fits or probabilities.shape != (len(crops), len(self.codes)):
            raise BundleError(f"'{path}' does not fit the bundle's classes.")
        return crops, probabilities.astype(np.float32)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, lower-case hex."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def load_bundle(path: Path | None = None) -> Bundle:
    """Opens a bundle and verifies every file it names.

    Args:
        path: its folder; None is the default bundle inside the package.

    Raises:
        BundleError: it is missing, damaged, newer than this program, or names a path outside.
    """
    folder = path or DEFAULT_BUNDLE
    text = _read_manifest(folder)
    try:
        content = json.loads(text)
        _check_version(folder, content)
        info = _parse(content)
        _check_info(folder, info)
        files = dict(content["files"]) | {m.file: m.sha256 for m in info.models}
        for name, digest in files.items():
            _verify_file(folder, name, digest)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"'{folder / MANIFEST}' is damaged ({error}).") from error
    for name in (REFERENCE, *detector_files(info)):
        if name not in files:
            raise BundleError(f"The bundle '{folder}' has no {name}.")
    return Bundle(folder, info, hashlib.sha256(text).hexdigest())


def _read_manifest(folder: Path) -> bytes:
    hint = "Give --bundle the folder that heme-export wrote"
    if not folder.is_dir():
        raise BundleError(f"The bundle folder '{folder}' does not exist.", hint)
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            text = file.read(MAX_MANIFEST_BYTES + 1)
    except FileNotFoundError:
        raise BundleError(f"'{folder}' is not a bundle: it has no {MANIFEST}.", hint) from None
    except OSError as error:
        raise BundleError(f"'{path}' cannot be read ({error.strerror}).") from error
    if len(text) > MAX_MANIFEST_BYTES:
        raise BundleError(f"'{path}' is too large to be a bundle's.")
    return text


def _check_version(folder: Path, content: dict[str, Any]) -> None:
    if content["format"] != FORMAT:
        raise BundleError(f"'{folder}' is not a heme-edge bundle.")
    version = int(content["format_version"])
    if version > FORMAT_VERSION:
        raise BundleError(
            f"The bundle '{folder}' has format {version}; "
            f"this program knows up to {FORMAT_VERSION}.",
            "pip install --upgrade heme-edge",
        )


def _parse(content: dict[str, Any]) -> BundleInfo:
    crop = content["crop"]
    if (crop["px"], crop["um_per_px"]) != (CROP_PX, CROP_UM_PER_PX):
        raise BundleError(
            f"The bundle wants crops of {crop}; this program cuts 96 px at 0.25 µm/px."
        )
    return BundleInfo(
        name=str(content["name"]),
        classes=tuple(BundleClass(**c) for c in content["classes"]),
        models=tuple(
            ModelFile(**(m | {"tolerance": float(m["tolerance"])})) for m in content["models"]
        ),
        head=content["head"],
        temperature=float(content["temperature"]),
        reject_threshold=float(content["reject_threshold"]),
        calibration=dict(content["calibration"]),
        parity=dict(content["parity"]),
        accuracy=dict(content["accuracy"]),
        provenance=dict(content["provenance"]),
        training_data=tuple(content["training_data"]),
        detector=dict(content.get("detector", {})),
        optics=dict(content.get("optics", {})),
    )


def _check_info(folder: Path, info: BundleInfo) -> None:
    codes = [c.code for c in info.classes]
    if len(codes) < 2 or len(set(codes)) != len(codes):
        raise BundleError(f"The bundle '{folder}' needs two or more different classes.")
    unknown = [code for code in codes if not is_known(code)]
    if unknown:
        raise BundleError(f"The bundle '{folder}' has an unknown class '{unknown[0]}'.")
    if info.head not in HEADS:
        raise BundleError(f"The bundle '{folder}' has an unknown head '{info.head}'.")
    if not info.models:
        raise BundleError(f"The bundle '{folder}' holds no model.")
    for model in info.models:
        if model.scheme not in SCHEMES.get(model.precision, ()):
            raise BundleError(
                f"The bundle '{folder}' has a model of unknown kind "
                f"{model.precision}/{model.scheme}."
            )
    if info.optics and not _is_optics(info.optics):
        raise BundleError(f"'{folder / MANIFEST}' is damaged (its table 'optics' cannot be used).")
    if not isinstance(info.detector.get("files", {}), dict):
        raise BundleError(f"'{folder / MANIFEST}' is damaged (its detector's files).")
    losses = info.parity.get("accepted", [])
    if not isinstance(losses, list) or not all(map(_is_sentence, losses)):
        raise BundleError(
            f"'{folder / MANIFEST}' is damaged (its accepted losses are not a list of sentences)."
        )


def _is_optics(table: dict[str, Any]) -> bool:
    """Whether the training data's background and stain are there, every number finite."""
    lists = [(table["white_rgb"], 3)]
    for source in table["stain"].values():
        lists += [(source["white_rgb"], 3), (source["mean"], 6), (source["sd"], 6)]
    arrays = [(np.asarray(values, np.float64), count) for values, count in lists]
    fit = all(a.shape == (count,) and bool(np.isfinite(a).all()) for a, count in arrays)
    positive = all(min(source["sd"]) > 0 for source in table["stain"].values())
    return fit and positive and bool(table["stain"]) and min(table["white_rgb"]) >= 1


def detector_files(info: BundleInfo) -> tuple[str, ...]:
    """Names of the detector's files; none in a bundle without one."""
    return tuple(str(name) for name in info.detector.get("files", {}).values())


def _is_sentence(value: Any) -> bool:
    """One line of text, which is shown in terminals and written into comments."""
    return isinstance(value, str) and value.isprintable()


def _verify_file(folder: Path, name: str, digest: str) -> None:
    if name != Path(name).name or name in ("", ".", "..") or "\\" in name:
        raise BundleError(f"The bundle '{folder}' names '{name}', a path outside its folder.")
    path = folder / name
    if path.is_symlink() or not path.is_file():
        raise BundleError(f"The bundle '{folder}' lacks '{name}'.")
    if sha256_of(path) != digest:
        raise BundleError(
            f"'{name}' in the bundle '{folder}' is damaged or was changed (its SHA-256 differs).",
            "Copy the bundle again, or export it again",
        )
