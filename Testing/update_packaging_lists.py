"""Rewrite the two file lists of DDSAM2Slicer/CMakeLists.txt from the tree; run it with `make lists`."""

import re
from pathlib import Path

MODULE_FOLDER = Path(__file__).resolve().parents[1] / "DDSAM2Slicer"
IGNORED = ("__pycache__", "*.egg-info", "CMakeLists.txt", ".*", "*.part")


def shipped_files(folder: Path) -> tuple[list[str], list[str]]:
    """List scripts and resources below a module folder, relative to it and sorted, the module file first."""
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    kept = [path for path in files if not any(Path(part).match(rule) for part in path.parts for rule in IGNORED)]
    kept.sort(key=lambda path: (len(path.parts) > 1, path.as_posix()))
    scripts = [path.as_posix() for path in kept if path.suffix == ".py"]
    resources = [path.as_posix() for path in kept if path.suffix != ".py"]
    return scripts, resources


def read_list(cmake: str, variable: str) -> list[str]:
    """Read one list out of the text of a CMake file."""
    return re.search(rf"set\({variable}\n(.*?)\s*\)", cmake, re.DOTALL).group(1).split()


def write_list(cmake: str, variable: str, files: list[str]) -> str:
    """Return the text of a CMake file with one list replaced."""
    lines = "".join(f"  {file}\n" for file in files)
    return re.sub(rf"(set\({variable}\n).*?(  \))", lambda match: match[1] + lines + match[2], cmake, flags=re.DOTALL)


def main() -> None:
    """Update the file in place."""
    path = MODULE_FOLDER / "CMakeLists.txt"
    cmake = path.read_text(encoding="utf-8")
    scripts, resources = shipped_files(MODULE_FOLDER)
    cmake = write_list(cmake, "MODULE_PYTHON_SCRIPTS", scripts)
    path.write_text(write_list(cmake, "MODULE_PYTHON_RESOURCES", resources), encoding="utf-8")


if __name__ == "__main__":
    main()
