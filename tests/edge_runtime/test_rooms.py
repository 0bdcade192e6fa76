"""What the runtime may import, how fast it answers, and that it works with nothing else."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

import heme_edge

HEAVY = ("torch", "timm", "albumentations", "onnx", "heme_train", "heme_export", "heme_calibration")


def test_importing_all_of_the_runtime_pulls_in_no_other_room() -> None:
    package = Path(heme_edge.__file__).parent
    modules = [
        ".".join(("heme_edge", *p.relative_to(package).with_suffix("").parts))
        for p in sorted(package.rglob("*.py"))
    ]
    names = [m.removesuffix(".__init__") for m in modules]
    code = f"""
import importlib, sys
for name in {names!r}:
    importlib.import_module(name)
from click.testing import CliRunner
from heme_edge.cli import main
assert CliRunner().invoke(main, ["doctor"]).exit_code in (0, 1)
print([m for m in {HEAVY!r} if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("heme_edge.cli", ("numpy", "cv2", "onnxruntime", "rich")),
        ("heme_calibration.cli", ("torch", "heme_train", "heme_export", "onnx")),
        ("heme_train.cli", ("torch", "timm", "albumentations", "heme_export")),
        ("heme_export.cli", ("torch", "onnx")),
    ],
)
def test_commands_import_late(module: str, forbidden: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([m for m in {forbidden!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["classify", "--help"]])
def test_help_starts_in_under_twice_click_and_numpy(arguments: list[str]) -> None:
    """The fastest of nine turns each, interleaved, since these machines are noisy."""
    ours = [sys.executable, "-c", f"import sys; sys.argv[1:] = {arguments!r}; "
            "from heme_edge.cli import main; main()"]  # fmt: skip
    base = [sys.executable, "-c", "import click, numpy"]
    times: dict[str, list[float]] = {"ours": [], "base": []}
    for _ in range(9):
        for name, command in (("ours", ours), ("base", base)):
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times[name].append(time.perf_counter() - started)
    assert min(times["ours"]) < 2 * min(times["base"])
