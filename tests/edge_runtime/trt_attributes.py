"""What our code touches of TensorRT, read from its source, so that no list is kept by hand."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import heme_edge.backends.tensorrt as package

OBJECTS = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "parser_error": "ParserError",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "timing_cache": "ITimingCache",
    "_runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "layer": "ILayer",
}
"""Names under which ``HOLDERS`` hold objects of TensorRT."""

HOLDERS = ("build.py", "engine.py", "weak.py")


@dataclass
class Touched:
    """Dotted names below the module, for example ``IBuilderConfig.set_flag``.

    Attributes:
        used: read, called or set.
        probed: asked for by ``hasattr`` somewhere, so that a version may lack them.
    """

    used: set[str] = field(default_factory=set)
    probed: set[str] = field(default_factory=set)


def touched() -> Touched:
    """Everything the package ``heme_edge.backends.tensorrt`` touches of TensorRT."""
    found = Touched()
    folder = Path(package.__file__).parent
    for path in sorted(folder.glob("*.py")):
        objects = OBJECTS if path.name in HOLDERS else {}
        for node in ast.walk(ast.parse(path.read_text())):
            found.used.update(_used(node, objects))
            found.probed.update(_probed(node, objects))
    return found


def _used(node: ast.AST, objects: dict[str, str]) -> Iterator[str]:
    if isinstance(node, ast.Attribute):
        name = _dotted(node, objects)
        if name:
            yield name
    if isinstance(node, ast.ClassDef):  # methods that TensorRT calls must be methods it knows
        for base in filter(None, (_dotted(b, objects) for b in node.bases)):
            methods = [m.name for m in node.body if isinstance(m, ast.FunctionDef)]
            yield from (f"{base}.{m}" for m in methods if m != "__init__")


def _probed(node: ast.AST, objects: dict[str, str]) -> Iterator[str]:
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "hasattr":
        holder, name = node.args
        base = _dotted(holder, objects)
        if base is not None and isinstance(name, ast.Constant):
            yield f"{base}.{name.value}".lstrip(".")


def _dotted(node: ast.AST, objects: dict[str, str]) -> str | None:
    """The name below the module; empty for the module itself, None for anything else."""
    if isinstance(node, ast.Name):
        return "" if node.id == "trt" else objects.get(node.id)
    if isinstance(node, ast.Attribute):
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            return objects.get(node.attr)
        base = _dotted(node.value, objects)
        return None if base is None else f"{base}.{node.attr}".lstrip(".")
    return None
