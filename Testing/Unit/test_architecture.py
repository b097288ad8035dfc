"""Who may import whom: every shipped file's syntax tree against the table in CONTRIBUTING.md."""

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

MODULE_FOLDER = Path(__file__).resolve().parents[2] / "DDSAM2Slicer"
PACKAGE = "DDSAM2SlicerLib"
DOOR = "DDSAM2Slicer"

QT = frozenset({"qt", "ctk", "PythonQt", "PySide6"})
SLICER = frozenset({"slicer", "vtk"}) | QT
TORCH = frozenset({"torch", "sam2", "lightning_fabric"})
FILE_METHODS = frozenset({"open", "read_bytes", "read_text", "write_bytes", "write_text"})


@dataclass(frozen=True)
class Layer:
    """What a layer may import: third-party packages at file scope, other layers anywhere, and what it never may."""

    third_party: frozenset[str]
    own: frozenset[str]
    never: frozenset[str]


def _layer(third_party: str, own: str, never: frozenset[str]) -> Layer:
    return Layer(frozenset(third_party.split()), frozenset(own.split()), never)


_LIGHT = _layer("numpy", "core weights testing worker worker.protocol worker.codec worker.client", TORCH | SLICER)
_SERVER = _layer("", "core engine worker worker.protocol worker.codec worker.server", SLICER)

LAYERS = {
    "": _layer("", "", TORCH | SLICER | {"numpy"}),
    "core": _layer("numpy", "", TORCH | SLICER),
    "weights": _LIGHT,
    "testing": _LIGHT,
    "worker": _LIGHT,
    "worker.protocol": _LIGHT,
    "worker.codec": _LIGHT,
    "worker.client": _LIGHT,
    "worker.server": _SERVER,
    "worker.__main__": _SERVER,
    "model": _layer("torch sam2 numpy", "core", SLICER),
    "model.checkpoint": _layer("torch sam2 numpy safetensors", "core model", SLICER),
    "engine": _layer("torch numpy", "core model model.checkpoint weights", SLICER),
    "training": _layer(
        "torch sam2 numpy scipy PIL lightning_fabric", "core testing engine model model.checkpoint", SLICER
    ),
    "cli": _layer(
        "torch numpy PIL tqdm",
        "core weights testing model model.checkpoint engine training worker.protocol worker.server",
        SLICER,
    ),
    "mrml": _layer("slicer vtk numpy", "core mrml.parameters", TORCH | QT),
    "mrml.parameters": _layer("slicer", "core", TORCH | QT),
    "logic": _layer("slicer qt", "core weights mrml mrml.parameters worker.client", TORCH),
    "ui": _layer("slicer qt ctk", "core logic", TORCH),
    DOOR: _layer("slicer", "ui logic mrml.parameters", TORCH | {"numpy"}),
}


@dataclass(frozen=True)
class Import:
    """One imported name: absolute dotted path, and where it stands ('file', 'function' or 'typing')."""

    dotted: str
    scope: str
    line: int


def layer_of(dotted: str) -> str:
    """Find the layer of a module by its longest listed prefix; the package's own file is layer ''."""
    parts = dotted.split(".")
    inner = parts[1:] if parts[0] == PACKAGE else parts
    while inner and ".".join(inner) not in LAYERS:
        inner = inner[:-1]
    return ".".join(inner)


def find_imports(tree: ast.AST, package: str) -> list[Import]:
    """List every import below a node; relative ones become absolute from ``package``."""
    found = []

    def visit(node: ast.AST, scope: str) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, scope, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            anchor = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*anchor, *([node.module] if node.module else [])])
            found.extend(Import(f"{base}.{alias.name}", scope, node.lineno) for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            scope = "typing"
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            scope = "function"
        for child in ast.iter_child_nodes(node):
            visit(child, scope)

    visit(tree, "file")
    return found


def find_violations(source: str, module: str, is_package: bool = False) -> list[str]:
    """Compare one file with the table; each violation is a sentence that begins with the line."""
    tree = ast.parse(source)
    name = layer_of(module)
    layer = LAYERS[name]
    package = module if is_package else module.rpartition(".")[0]
    problems = []
    for item in find_imports(tree, package):
        top = item.dotted.split(".")[0]
        if top == PACKAGE:
            target = layer_of(item.dotted)
            if target not in {"", name, *layer.own}:
                problems.append(f"line {item.line}: layer '{name}' may not import layer '{target}'")
        elif top in layer.never and item.scope != "typing":
            problems.append(f"line {item.line}: layer '{name}' may never import {top}")
        elif item.scope == "file" and top not in layer.third_party and top not in sys.stdlib_module_names:
            problems.append(f"line {item.line}: layer '{name}' may not import {top} at file scope")
    if module.startswith(f"{PACKAGE}.model.") and module != f"{PACKAGE}.model.checkpoint":
        problems += _find_file_access(tree)
    return problems


def _find_file_access(tree: ast.AST) -> list[str]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [
        f"line {call.lineno}: only model/checkpoint.py may open files"
        for call in calls
        if (isinstance(call.func, ast.Name) and call.func.id == "open")
        or (isinstance(call.func, ast.Attribute) and call.func.attr in FILE_METHODS)
        or ast.unparse(call.func) in {"torch.load", "torch.save"}
    ]


def shipped_files() -> list[Path]:
    """Every Python file of the extension, the module file included."""
    return [MODULE_FOLDER / f"{DOOR}.py", *sorted((MODULE_FOLDER / PACKAGE).rglob("*.py"))]


@pytest.mark.parametrize("path", shipped_files(), ids=lambda path: str(path.relative_to(MODULE_FOLDER)))
def test_every_file_imports_only_what_its_layer_may(path):
    parts = path.relative_to(MODULE_FOLDER).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    module = ".".join(parts[:-1] if is_package else parts)
    assert is_package or module == DOOR or layer_of(module), f"{path.name} belongs to no layer of the table"
    assert find_violations(path.read_text(encoding="utf-8"), module, is_package) == []


@pytest.mark.parametrize(
    ("module", "source", "sentence"),
    [
        ("core.plan", "import torch", "layer 'core' may never import torch"),
        ("core.plan", "def f():\n    import torch", "layer 'core' may never import torch"),
        ("core.plan", "import scipy.ndimage", "layer 'core' may not import scipy at file scope"),
        ("core.plan", "try:\n    import scipy\nexcept ImportError:\n    scipy = None", "may not import scipy"),
        ("core.plan", "from ..weights import store", "layer 'core' may not import layer 'weights'"),
        ("core.plan", "def f():\n    from ..engine.session import Session", "may not import layer 'engine'"),
        ("core.plan", "from DDSAM2SlicerLib.model import steps", "may not import layer 'model'"),
        ("weights.store", "from torch import load", "may never import torch"),
        ("model.steps", "import slicer", "may never import slicer"),
        ("model.steps", "import torch\nw = torch.load('x')", "only model/checkpoint.py may open files"),
        ("model.steps", "from pathlib import Path\nPath('x').read_bytes()", "only model/checkpoint.py may open files"),
        ("engine.session", "from ..training import loop", "may not import layer 'training'"),
        ("cli.readers", "import SimpleITK", "may not import SimpleITK at file scope"),
        ("mrml.volumes", "import qt", "may never import qt"),
        ("logic.coordinator", "from ..worker import server", "may not import layer 'worker.server'"),
        ("logic.coordinator", "from ..model.steps import encode_image", "may not import layer 'model'"),
        ("ui.widget", "from ..engine import session", "may not import layer 'engine'"),
    ],
)
def test_a_planted_bad_import_is_caught(module, source, sentence):
    assert any(sentence in problem for problem in find_violations(source, f"{PACKAGE}.{module}"))


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("import numpy", "may never import numpy"),
        ("from DDSAM2SlicerLib.engine import session", "may not import layer 'engine'"),
        ("from DDSAM2SlicerLib.mrml import volumes", "may not import layer 'mrml'"),
    ],
)
def test_a_planted_bad_import_in_the_door_is_caught(source, sentence):
    assert any(sentence in problem for problem in find_violations(source, DOOR))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("core.plan", "import numpy as np\nfrom .errors import SettingsError\nfrom .. import __version__"),
        ("weights.download", "from urllib.request import urlopen\nfrom ..core.errors import WeightsError"),
        ("mrml.volumes", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
        ("model.checkpoint", "import torch\nw = torch.load('x', weights_only=True)"),
        ("cli.readers", "def read(path):\n    import SimpleITK"),
        ("logic.coordinator", "from ..worker.client import Client"),
    ],
)
def test_a_good_import_is_left_alone(module, source):
    assert find_violations(source, f"{PACKAGE}.{module}") == []


def test_no_shipped_file_is_longer_than_400_lines():
    lengths = {path.name: len(path.read_text("utf-8").splitlines()) for path in MODULE_FOLDER.rglob("*.py")}
    assert {name: length for name, length in lengths.items() if length > 400} == {}
