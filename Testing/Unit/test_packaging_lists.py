"""What is installed and published: CMake lists equal the tree, names agree, the Extensions Index accepts us."""

import importlib.util
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
MODULE_FOLDER = REPOSITORY / "DDSAM2Slicer"
NAME = "DDSAM2Slicer"

# Some categories of the Extensions Index; any other is refused there.
ACCEPTED_CATEGORIES = {"Segmentation", "Sequences", "Active Learning", "Cardiac", "Tracking", "Ultrasound"}
ENTRY_KEYS = {
    "$schema": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "category": str,
    "dicom_support_rule": str,
    "enabled": bool,
    "scm_revision": str,
    "scm_type": str,
    "scm_url": str,
    "tier": int,
}


def _load_lists_tool():
    spec = importlib.util.spec_from_file_location(
        "update_packaging_lists", REPOSITORY / "Testing/update_packaging_lists.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


lists = _load_lists_tool()


@pytest.fixture(scope="module")
def extension_cmake():
    """Text of the top CMakeLists.txt."""
    return (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def module_cmake():
    """Text of the module's CMakeLists.txt."""
    return (MODULE_FOLDER / "CMakeLists.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def entry():
    """The Extensions Index entry."""
    return json.loads((REPOSITORY / f"{NAME}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def s4ext():
    """Keys and values of the extension description."""
    lines = (REPOSITORY / f"{NAME}.s4ext").read_text(encoding="utf-8").splitlines()
    return dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))


def _metadata(cmake: str, key: str) -> str:
    # The pattern of the Extensions Index: written literally, no space after the bracket.
    return re.search(rf'set\(EXTENSION_{key} "([^"]+)"\)', cmake).group(1)


def test_the_description_survives_cmake(extension_cmake, s4ext):
    assert ";" not in _metadata(extension_cmake, "DESCRIPTION")  # CMake would cut it there
    assert _metadata(extension_cmake, "DESCRIPTION") == s4ext["description"]


def test_the_cmake_lists_equal_the_tree(module_cmake):
    scripts, resources = lists.shipped_files(MODULE_FOLDER)
    remedy = "run `make lists` and commit DDSAM2Slicer/CMakeLists.txt"
    assert lists.read_list(module_cmake, "MODULE_PYTHON_SCRIPTS") == scripts, remedy
    assert lists.read_list(module_cmake, "MODULE_PYTHON_RESOURCES") == resources, remedy


def test_every_shipped_file_is_in_version_control():
    tracked = subprocess.run(
        ["git", "-C", str(MODULE_FOLDER), "ls-files"], capture_output=True, text=True, check=False
    ).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    scripts, resources = lists.shipped_files(MODULE_FOLDER)
    assert set(scripts + resources) - set(tracked) == set()


def test_the_lists_tool_finds_scripts_and_resources_and_leaves_build_products_out(tmp_path):
    for name in (
        "M.py",
        "MLib/a.py",
        "MLib/r.toml",
        "Resources/x.png",
        "CMakeLists.txt",
        "MLib/__pycache__/a.pyc",
        "m.egg-info/t",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert lists.shipped_files(tmp_path) == (["M.py", "MLib/a.py"], ["MLib/r.toml", "Resources/x.png"])


def test_the_lists_tool_writes_what_it_reads():
    cmake = "set(FIRST\n  old.py\n  )\nset(SECOND\n  keep.png\n  )\n"
    changed = lists.write_list(cmake, "FIRST", ["a.py", "b.py"])
    assert lists.read_list(changed, "FIRST") == ["a.py", "b.py"]
    assert lists.read_list(changed, "SECOND") == ["keep.png"]
    assert lists.read_list(lists.write_list(changed, "FIRST", []), "FIRST") == []


def test_names_agree_everywhere(extension_cmake, module_cmake):
    assert re.search(r"project\s*\(\s*([^\s)]+)", extension_cmake).group(1) == NAME
    assert f"add_subdirectory({NAME})" in extension_cmake
    assert f"set(MODULE_NAME {NAME})" in module_cmake
    assert (MODULE_FOLDER / f"{NAME}.py").is_file()
    assert not NAME.startswith("Slicer")


def test_the_index_entry_follows_schema_1_0_2(entry):
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert {"$schema", "category", "scm_url"} <= set(entry) <= set(ENTRY_KEYS)
    assert {key for key, value in entry.items() if type(value) is not ENTRY_KEYS[key]} == set()
    assert 1 <= entry["tier"] <= 5


def test_the_index_entry_is_published_from_an_acceptable_repository(entry):
    assert entry["category"] in ACCEPTED_CATEGORIES
    assert entry["scm_url"].startswith("https://")
    assert entry["scm_url"].rsplit("/", 1)[-1].startswith("Slicer")


def test_index_entry_description_and_cmake_agree(entry, s4ext, extension_cmake):
    assert entry["build_dependencies"] == s4ext["depends"].split() == _metadata(extension_cmake, "DEPENDS").split()
    assert entry["category"] == s4ext["category"] == _metadata(extension_cmake, "CATEGORY")
    assert entry["scm_url"] == s4ext["scmurl"] == s4ext["homepage"] == _metadata(extension_cmake, "HOMEPAGE")
    assert s4ext["iconurl"] == _metadata(extension_cmake, "ICONURL")
    assert s4ext["screenshoturls"] == _metadata(extension_cmake, "SCREENSHOTURLS")
    assert s4ext["description"] == _metadata(extension_cmake, "DESCRIPTION")
    assert str(entry["tier"]) == s4ext["tier"]


def test_extension_and_index_both_ask_for_pytorch(entry):
    assert entry["build_dependencies"] == ["PyTorch"]


@pytest.mark.parametrize("key", ["ICONURL", "SCREENSHOTURLS"])
def test_published_pictures_are_files_of_this_checkout(extension_cmake, key):
    for url in _metadata(extension_cmake, key).split():
        path = REPOSITORY / url.split("/main/", 1)[1]
        with Image.open(path) as image:
            assert image.format in {"PNG", "JPEG", "GIF"}


def test_the_icon_is_128_pixels_square():
    with Image.open(MODULE_FOLDER / f"Resources/Icons/{NAME}.png") as image:
        assert image.size == (128, 128)


def test_text_files_have_unix_line_ends_and_a_final_newline():
    for name in (f"{NAME}.json", f"{NAME}.s4ext", "CMakeLists.txt", f"{NAME}/CMakeLists.txt", "LICENSE"):
        content = (REPOSITORY / name).read_bytes()
        assert content.endswith(b"\n"), name
        assert b"\r" not in content, name
        assert b"\t" not in content, name


def test_the_licence_is_apache_2_at_the_root():
    assert "Apache License\n                           Version 2.0" in (REPOSITORY / "LICENSE").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize(
    "answer",
    ["## Modules", "## Tutorial", "## How to cite", "## Licence", "](", "delete"],
)
def test_the_readme_answers_what_the_index_asks(answer):
    assert answer in (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_slicer_requirements_are_ranges_and_never_install_torch():
    lines = (MODULE_FOLDER / "Resources/requirements.txt").read_text(encoding="utf-8").splitlines()
    requirements = [line for line in lines if line and not line.startswith("#")]
    assert requirements
    assert [line for line in requirements if "==" in line or line.startswith("torch")] == []


def test_slicer_and_pip_ask_for_the_same_versions():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (MODULE_FOLDER / "Resources/requirements.txt").read_text(encoding="utf-8").splitlines()
    in_slicer = {line for line in lines if line and not line.startswith("#")}
    assert in_slicer == {line for line in project["dependencies"] if not line.startswith("torch")}


def test_no_file_outside_the_models_is_larger_than_a_megabyte():
    tracked = subprocess.run(["git", "-C", str(REPOSITORY), "ls-files"], capture_output=True, text=True, check=False)
    large = [
        name
        for name in tracked.stdout.split("\n")
        if (REPOSITORY / name).is_file() and (REPOSITORY / name).stat().st_size > 1_000_000
    ]
    assert [name for name in large if not name.startswith(f"{NAME}/Resources/Models/")] == []
