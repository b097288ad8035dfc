"""What users of the module read goes through `_`, in a way that Slicer's tools find it: every file of logic and ui."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[2] / "DDSAM2Slicer" / "DDSAM2SlicerLib"
FILES = sorted(path for layer in ("logic", "ui") for path in (LIBRARY / layer).glob("*.py"))


def find_faults(source: str) -> list[str]:
    """Sentences beside `_`, `_` of more than a literal, and other things called `_` where a function translates."""
    tree = ast.parse(source)
    calls = [node for node in ast.walk(tree) if _is_translation(node)]
    faults = [
        f"line {call.lineno}: _() takes a literal without values; use _(...).format(...)"
        for call in calls
        if len(call.args) != 1 or not isinstance(call.args[0], ast.Constant)
    ]
    exempt = {id(arg) for call in calls for arg in call.args}
    exempt |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in exempt and _is_sentence(node.value):
            faults.append(f"line {node.lineno}: {node.value!r} is not translated")
        elif isinstance(node, ast.FunctionDef) and any(map(_is_translation, ast.walk(node))):
            names = [each for each in ast.walk(node) if isinstance(each, ast.Name) and each.id == "_"]
            stores = [name for name in names if isinstance(name.ctx, ast.Store)]
            faults += [f"line {name.lineno}: another _ hides the translation" for name in stores]
    for statement in tree.body:
        if not isinstance(statement, ast.FunctionDef | ast.ClassDef):
            early = [node for node in ast.walk(statement) if _is_translation(node)]
            faults += [f"line {node.lineno}: translated when imported, before Slicer knows how" for node in early]
    return faults


def _is_translation(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_"


def _is_sentence(value: object) -> bool:
    return isinstance(value, str) and " " in value.strip() and value.rstrip().endswith((".", "?", "!"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_sentence_for_users_is_translated(path):
    assert find_faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("def f():\n    return 'Choose a volume.'", "'Choose a volume.' is not translated"),
        ("def f(name):\n    return f'{name} is empty. Fill it.'", "' is empty. Fill it.' is not translated"),
        ("def f(name):\n    return _(f'{name} is empty.')", "_() takes a literal"),
        ("def f(name):\n    return _(name)", "_() takes a literal"),
        ("def f(pair):\n    _, one = pair\n    return _('Well done.')", "another _ hides the translation"),
        ("TEXT = _('Choose a volume.')", "translated when imported"),
    ],
)
def test_a_planted_fault_is_found(source, fault):
    assert any(fault in found for found in find_faults(source))


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    '''Say it.'''\n    return _('Choose a volume.')",
        "def f(name):\n    return _('Object {name} has no segment.').format(name=name)",
        "KEY = 'DDSAM2.Frame'",
        "def f(pair):\n    _, one = pair\n    return one",
    ],
)
def test_good_text_is_left_alone(source):
    assert find_faults(source) == []


def run_with_slicer(tmp_path: Path, i18n: str | None) -> str:
    """What logic/i18n.py makes of a text beside a stand-in for Slicer, in a Python of its own."""
    (tmp_path / "slicer").mkdir()
    (tmp_path / "slicer" / "__init__.py").touch()
    if i18n is not None:
        (tmp_path / "slicer" / "i18n.py").write_text(i18n)
    program = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(LIBRARY.parent)!r}]\n"
        "from DDSAM2SlicerLib.logic.i18n import _\nprint(_('All well.'), _.__module__)"
    )
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def test_slicers_own_function_translates_where_there_is_one(tmp_path):
    assert run_with_slicer(tmp_path, "def tr(text):\n    return 'Alles gut.'\n") == "Alles gut. slicer.i18n"


def test_elsewhere_text_stays_as_it_is(tmp_path):
    assert run_with_slicer(tmp_path, None) == "All well. DDSAM2SlicerLib.logic.i18n"
