"""What pyproject.toml asks for is what the library imports: nothing is missing, nothing is left over."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
LIBRARY = REPOSITORY / "DDSAM2Slicer" / "DDSAM2SlicerLib"

IMPORT_NAMES = {
    "imageio-ffmpeg": "imageio_ffmpeg",
    "itk-growcut": "itk",
    "lightning-fabric": "lightning_fabric",
    "pillow": "PIL",
    "pynrrd": "nrrd",
}
"""Distributions whose import name differs from their own."""

NEEDED_BY_OTHERS = {"hydra-core", "iopath", "tqdm", "imageio-ffmpeg"}
"""Imported by sam2 (first three) and by imageio when it opens a clip, never by us."""

OUTSIDE_PIP = {"sam2", "slicer", "vtk", "qt", "ctk", "DDSAM2SlicerLib"}
"""sam2 is pinned by hash on its own, the rest is 3D Slicer, and the last is us."""


@pytest.fixture(scope="module")
def project():
    """The [project] table of pyproject.toml."""
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names_of(requirements):
    """Strip versions and markers."""
    return {re.match(r"[\w.-]+", requirement).group() for requirement in requirements}


def imports_below(folder):
    """Collect the top-level names of all absolute imports below a folder, at any depth of the code."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names)


def test_every_import_is_asked_for(project):
    extras = project["optional-dependencies"]
    asked = names_of([*project["dependencies"], *extras["cli"], *extras["training"]])
    assert imports_below(LIBRARY) - {IMPORT_NAMES.get(name, name) for name in asked} - OUTSIDE_PIP == set()


def test_everything_asked_for_is_imported(project):
    extras = project["optional-dependencies"]
    asked = names_of([*project["dependencies"], *extras["cli"], *extras["training"]]) - NEEDED_BY_OTHERS
    imported = imports_below(LIBRARY)
    assert {name for name in asked if IMPORT_NAMES.get(name, name) not in imported} == set()


def test_the_collector_sees_late_imports_and_leaves_the_standard_library_out(tmp_path):
    (tmp_path / "a.py").write_text(
        "import os\nfrom .b import c\ndef f():\n    import nrrd\n    from numpy.linalg import inv\n"
    )
    assert imports_below(tmp_path) == {"nrrd", "numpy"}
