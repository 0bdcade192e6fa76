"""Crop sets as they lie on a disk: a manifest beside shards or pictures, or class folders."""

from __future__ import annotations

import csv
import re
import tarfile
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath

from heme_edge.cells import CELL_CLASSES
from heme_edge.errors import HemeError
from heme_edge.photos import SUFFIXES
from heme_train.data import ROLES, TEST, UNNAMED, Crop, CropSet, Place

ALIASES = {"path": "file", "label": "code", "slide": "group"}
"""Other names of manifest columns."""
MAIN_MANIFEST = "crops-manifest.csv"
_KNOWN = "Known codes: " + ", ".join(c.code for c in CELL_CLASSES)

Skipped = list[tuple[str, str]]


def read_crops(path: Path, group_pattern: str | None = None) -> CropSet:
    """Reads a crop set in any of the three layouts.

    Args:
        path: a manifest (CSV ``file,code[,group,source,role]``, or ``path,label,slide``); a
            folder that holds one as ``*manifest.csv``, with the pictures beside it or inside
            ``*.tar``, read without unpacking; or a folder of class folders, ``M1/a.png`` or
            ``M1/slide07/a.png``, named by code, alias or name of the class.
        group_pattern: regular expression with one capturing group, searched in each file name
            to tell its group where no column and no sub-folder does.

    Raises:
        HemeError: nothing to read, several manifests, a column is missing, a class or role is
            unknown, some rows have no role, a group stands in two roles, a shard is damaged,
            or the pattern is wrong or fits not every file.
    """
    pattern = _compiled(group_pattern)
    if path.is_file():
        return _from_manifest(path, pattern)
    if any(path.glob("*manifest.csv")):
        return _from_manifest(_find_manifest(path), pattern)
    return _from_class_folders(path, pattern)


def class_code(name: str) -> str | None:
    """The code of a class by code, alias or name, in any case, ``_``, ``-`` and space alike."""
    return _codes().get(_plain(name))


@lru_cache(maxsize=1)
def _codes() -> dict[str, str]:
    table = {_plain(label): label for label in UNNAMED}
    for cell in CELL_CLASSES:
        for name in (cell.code, *cell.aliases, cell.name, f"{cell.code} {cell.name}"):
            table[_plain(name)] = cell.code
    return table


def _plain(name: str) -> str:
    return " ".join(re.split(r"[\s_,-]+", name.strip().casefold()))


def _compiled(group_pattern: str | None) -> re.Pattern[str] | None:
    if group_pattern is None:
        return None
    try:
        pattern = re.compile(group_pattern)
    except re.error as error:
        raise HemeError(f"'{group_pattern}' is no regular expression: {error}.") from error
    if pattern.groups != 1:
        raise HemeError(
            f"The group pattern '{group_pattern}' has {pattern.groups} capturing groups, not one.",
            r"For slide07_12.png: '^(slide\d+)_'",
        )
    return pattern


def _group_by_name(pattern: re.Pattern[str] | None, file: str) -> str:
    """The group a pattern finds in a file name; empty without a pattern."""
    if pattern is None:
        return ""
    found = pattern.search(file)
    if found is None or not found[1]:
        raise HemeError(f"The group pattern '{pattern.pattern}' does not fit '{file}'.")
    return found[1]


# -- manifests


def _find_manifest(folder: Path) -> Path:
    found = sorted(folder.glob("*manifest.csv"))
    preferred = [p for p in found if p.name == MAIN_MANIFEST]
    if len(found) > 1 and not preferred:
        raise HemeError(f"'{folder}' holds {len(found)} manifests.", "Give the path of one")
    return (preferred or found)[0]


def _from_manifest(manifest: Path, pattern: re.Pattern[str] | None) -> CropSet:
    skipped: Skipped = []
    rows = list(_rows(manifest))
    roles_known = _roles_known(manifest, rows)
    crops: dict[str, Crop] = {}
    told = True
    for at, row in enumerate(rows, 2):
        group = row.get("group") or _group_by_name(pattern, row["file"])
        told = told and bool(group)
        crop = _crop(row, group, f"row {at} of '{manifest.name}'")
        if crops.setdefault(crop.file, crop) != crop:
            raise HemeError(f"'{crop.file}' stands twice in '{manifest}', and not as the same.")
        if crops[crop.file] is not crop:
            skipped.append((crop.file, "stands in the manifest again"))
    _check_groups(crops.values())
    places = _index(manifest.parent, crops.keys(), skipped)
    return CropSet(list(crops.values()), places, told, roles_known, tuple(skipped))


def _rows(manifest: Path) -> Iterator[dict[str, str]]:
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = _columns(reader.fieldnames or ())
            rows = [{columns[k]: (v or "").strip() for k, v in r.items() if k in columns}
                    for r in reader]  # fmt: skip
    except (UnicodeDecodeError, csv.Error) as error:
        raise HemeError(f"'{manifest}' is not a CSV table in UTF-8.") from error
    if not rows or not {"file", "code"} <= set(columns.values()):
        raise HemeError(
            f"'{manifest}' needs the columns file and code, and at least one row.",
            "path, label and slide are read as file, code and group",
        )
    for at, row in enumerate(rows, 2):
        if not row["file"]:
            raise HemeError(f"Row {at} of '{manifest}' names no file.")
        yield row


def _columns(names: Iterable[str]) -> dict[str, str]:
    """Column as written -> its name here; an alias counts only where its name is not taken."""
    plain = {name: name.strip().casefold() for name in names if name}
    return {
        name: ALIASES.get(p, p) for name, p in plain.items() if ALIASES.get(p) not in plain.values()
    }


def _roles_known(manifest: Path, rows: list[dict[str, str]]) -> bool:
    without = sum(not row.get("role") for row in rows)
    if 0 < without < len(rows):
        raise HemeError(
            f"{without} of {len(rows)} rows of '{manifest}' have no role.",
            "Give every row one, or leave the whole column out to have roles made by seed",
        )
    unknown = sorted({row["role"] for row in rows} - set(ROLES)) if not without else []
    if unknown:
        raise HemeError(f"'{unknown[0]}' in '{manifest}' is no role.", f"One of {', '.join(ROLES)}")
    return not without


def _crop(row: dict[str, str], group: str, where: str) -> Crop:
    code = class_code(row["code"])
    if code is None:
        raise HemeError(f"'{row['code']}' is not a known cell class ({where}).", _KNOWN)
    file = row["file"]
    return Crop(file, code, group or file, row.get("source") or "unknown", row.get("role") or TEST)


def _check_groups(crops: Iterable[Crop]) -> None:
    role_of: dict[str, str] = {}
    for crop in crops:
        if role_of.setdefault(crop.group, crop.role) != crop.role:
            raise HemeError(
                f"Group '{crop.group}' stands in two roles, {role_of[crop.group]} and {crop.role}.",
                "Keep each group (slide, patient) on one side of the split",
            )


# -- shards and plain files


def _index(folder: Path, wanted: Iterable[str], skipped: Skipped) -> dict[str, Place]:
    places: dict[str, Place] = {}
    left = {str(PurePosixPath(name)): name for name in wanted}
    for shard in sorted(folder.glob("*.tar")):
        for name, place in _members(shard, skipped):
            if name not in left:
                continue
            other = places.setdefault(left[name], place)
            if other.path != shard:
                raise HemeError(
                    f"'{name}' is in two shards, '{other.path.name}' and '{shard.name}'."
                )
            places[left[name]] = place  # of two members of one shard the later one counts
    for name in left.values():
        path = folder / name
        if name not in places and path.is_file():
            places[name] = Place(path, 0, path.stat().st_size)
    return places


def _members(shard: Path, skipped: Skipped) -> Iterator[tuple[str, Place]]:
    """Plain files of a shard; links, devices and names that leave the folder are passed over."""
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    skipped.append((f"{shard.name}: {member.name}", "is no plain file"))
                elif name.is_absolute() or ".." in name.parts:
                    skipped.append((f"{shard.name}: {member.name}", "leaves the shard's folder"))
                else:
                    yield str(name), Place(shard, member.offset_data, member.size)
    except tarfile.TarError as error:
        raise HemeError(
            f"The shard '{shard}' is damaged, compressed or no tar file.",
            "Shards are read in place: pack them with tar cf, without compression",
        ) from error


# -- class folders


def _from_class_folders(root: Path, pattern: re.Pattern[str] | None) -> CropSet:
    skipped: Skipped = []
    folders = _class_folders(root, skipped)
    crops: list[Crop] = []
    places: dict[str, Place] = {}
    told = True
    for folder, code in folders:
        for path in _pictures(root, folder, skipped):
            file = path.relative_to(root).as_posix()
            group = _group_by_name(pattern, file) or _sub_folder(path.relative_to(folder))
            told = told and bool(group)
            crops.append(Crop(file, code, group or file, "unknown", TEST))
            places[file] = Place(path, 0, path.stat().st_size)
    if not crops:
        raise HemeError(
            f"'{root}' holds no manifest, and no class folders with pictures.",
            "Give the path of the manifest itself, or of the folder that holds M1, M2, …",
        )
    return CropSet(crops, places, told, False, tuple(skipped))


def _class_folders(root: Path, skipped: Skipped) -> list[tuple[Path, str]]:
    folders = []
    for path in sorted(root.iterdir()):
        if path.name.startswith(".") or path.name == "__MACOSX":
            skipped.append((path.name, "is hidden"))
        elif not path.is_dir():
            skipped.append((path.name, "lies in no class folder"))
        elif (code := class_code(path.name)) is None:
            raise HemeError(
                f"The folder '{path.name}' in '{root}' is not a known cell class.",
                f"Rename it or move it away. {_KNOWN}",
            )
        else:
            folders.append((path, code))
    return folders


def _pictures(root: Path, folder: Path, skipped: Skipped) -> Iterator[Path]:
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        inside = path.relative_to(folder)
        if any(part.startswith(".") for part in inside.parts):
            skipped.append((path.relative_to(root).as_posix(), "is hidden"))
        elif path.suffix.lower() not in SUFFIXES:
            skipped.append((path.relative_to(root).as_posix(), "is no picture by its name"))
        else:
            yield path


def _sub_folder(inside: Path) -> str:
    """The folder below the class's, which tells the slide; empty without one."""
    return inside.parts[0] if len(inside.parts) > 1 else ""
