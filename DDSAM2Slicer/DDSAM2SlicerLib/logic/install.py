"""Installs on first use what Slicer does not bring: PyTorch, SAM 2 and a few small packages (layer: logic).

One question, then everything in order: torch through the PyTorch extension, small packages through pip, at last sam2,
whose build imports torch. Whatever goes wrong ends as one sentence, and trying again continues with what is missing.
This file also loads in Slicer 5.8 (Python 3.9), to say there why the module cannot be used.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .i18n import _

REQUESTER = "DDSAM2Slicer"
RESOURCES = Path(__file__).resolve().parents[2] / "Resources"
MIN_PYTHON = (3, 11)
TORCH_REQUIREMENT = ">=2.5.1"
BUILD_TOOL = "setuptools>=61"

OFFLINE_SIGNS = re.compile(
    r"name resolution|getaddrinfo|new connection|ConnectionError|ProxyError|Network is unreachable|timed out", re.I
)
FAILURES = (subprocess.CalledProcessError, RuntimeError, OSError, ImportError, ValueError)
"""What pip, Slicer's wrappers and the PyTorch extension raise when they cannot install."""


@dataclass(frozen=True)
class Component:
    """One thing to install.

    Attributes:
        name: Package name.
        requirement: Version specifier, as ">=2.5.1"; may be empty.
        size: Download size for the user.
    """

    name: str
    requirement: str
    size: str


@dataclass(frozen=True)
class Outcome:
    """How an installation ended.

    Attributes:
        is_ready: Whether everything is there now.
        sentence: What to tell the user; empty if nothing had to be done.
    """

    is_ready: bool
    sentence: str = ""


class InstallError(Exception):
    """Something cannot be installed; the text is for the user."""


class System:
    """The Python of this Slicer and its ways to install; tests give another one."""

    def version_of(self, name: str) -> str | None:
        """Installed version of a package, or None."""
        importlib.invalidate_caches()
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None

    def install_torch(self, requirement: str) -> None:
        """Install torch in the build that fits this computer, without asking again.

        Raises:
            InstallError: If the PyTorch extension is not there.
        """
        if importlib.util.find_spec("PyTorchUtils") is None:
            msg = _(
                "The extension PyTorch is needed and not installed. "
                "Install it in the Extensions Manager, restart Slicer and try again."
            )
            raise InstallError(msg)
        utilities = importlib.import_module("PyTorchUtils")
        utilities.PyTorchUtilsLogic().installTorch(askConfirmation=False, torchVersionRequirement=requirement)

    def install_packages(self, requirements: list[str]) -> None:
        """Install small packages."""
        if importlib.util.find_spec("slicer.packaging") is not None:  # Slicer 5.12 and later
            importlib.import_module("slicer.packaging").pip_ensure(
                requirements, prompt_install=False, prompt_restart=False, requester=REQUESTER
            )
        else:
            importlib.import_module("slicer.util").pip_install(requirements)

    def install_pinned(self, requirements_file: Path) -> None:
        """Install packages whose hash is known: without what they ask for, built with the torch that is there."""
        options = ["--no-build-isolation", "--no-deps", "--require-hashes", "-r", str(requirements_file)]
        with _environment("SAM2_BUILD_CUDA", "0"):  # its optional extension would need a CUDA compiler
            importlib.import_module("slicer.util").pip_install(options)


def unsupported_reason(version_info: tuple[int, ...] = tuple(sys.version_info), slicer_version: str = "") -> str:
    """Why this module cannot work in this Slicer at all; empty if it can."""
    if tuple(version_info[:2]) >= MIN_PYTHON:
        return ""
    here = f"Slicer {slicer_version}" if slicer_version else _("This Slicer")
    has, needs = ("{}.{}".format(*version[:2]) for version in (version_info, MIN_PYTHON))
    return _(
        "{here} has Python {has}; SAM 2 needs Python {needs} or later. Install Slicer 5.10 or later to use this module."
    ).format(here=here, has=has, needs=needs)


class Installer:
    """Finds what is missing and installs it after one question."""

    def __init__(
        self,
        ask: Callable[[str], bool],
        system: System | None = None,
        resources: Path = RESOURCES,
        version_info: tuple[int, ...] = tuple(sys.version_info),
    ) -> None:
        """Nothing is checked yet.

        Args:
            ask: Shows a question and returns whether the user agrees.
            system: Ways to install.
            resources: Folder of the requirements files.
            version_info: Of this Python.
        """
        self._ask, self._system, self._resources = ask, system or System(), resources
        self._version_info = version_info

    def missing(self) -> list[Component]:
        """What is not installed, or too old, in the order of installation."""
        torch = Component("torch", TORCH_REQUIREMENT, _("0.2 GB, with a CUDA graphics card up to 3 GB"))
        names = [*self._read("requirements.txt"), BUILD_TOOL]
        small = [Component(*_split(line), _("a few MB")) for line in names]
        sam2 = [Component(*_split(line), _("0.1 MB")) for line in self._read("requirements-sam2.txt")]
        return [one for one in (torch, *small, *sam2) if not self._is_there(one)]

    def question(self) -> str:
        """What will be installed, and how big it is."""
        lines = [f"- {one.name} ({one.size})" for one in self.missing()]
        text = _(
            "Segmentation needs Python packages that are not installed yet:\n\n{packages}\n\n"
            "They are downloaded and installed into this Slicer. This can take some minutes. Install them now?"
        )
        return text.format(packages="\n".join(lines))

    def ensure(self) -> Outcome:
        """Install what is missing, if the user agrees; never raises for what can go wrong."""
        reason = unsupported_reason(self._version_info)
        if reason:
            return Outcome(False, reason)
        missing = self.missing()
        if not missing:
            return Outcome(True)
        if not self._ask(self.question()):
            return Outcome(False, _("Nothing was installed. Segmentation needs these packages; try again at any time."))
        try:
            self._install(missing)
        except InstallError as error:
            return Outcome(False, str(error))
        except KeyboardInterrupt:
            return Outcome(False, _("The installation was interrupted. Try again: it goes on with what is missing."))
        except FAILURES as error:
            return Outcome(False, _explain(error))
        left = ", ".join(one.name for one in self.missing())
        if left:
            text = _("The installation ended, but {packages} is still missing. See the log, then try again.")
            return Outcome(False, text.format(packages=left))
        return Outcome(True, _("Everything is installed."))

    def _install(self, missing: list[Component]) -> None:
        names = {one.name for one in missing}
        pinned = {_split(line)[0] for line in self._read("requirements-sam2.txt")}
        if "torch" in names:
            self._system.install_torch(TORCH_REQUIREMENT)
        small = [one.name + one.requirement for one in missing if one.name not in {"torch", *pinned}]
        if small:
            self._system.install_packages(small)
        if names & pinned:
            self._system.install_pinned(self._resources / "requirements-sam2.txt")

    def _read(self, name: str) -> list[str]:
        """Requirements of a file, without comments and hashes."""
        text = (self._resources / name).read_text(encoding="utf-8").replace("\\\n", " ")
        lines = (line.split("#")[0].split("--hash")[0].strip() for line in text.splitlines())
        return [line for line in lines if line]

    def _is_there(self, component: Component) -> bool:
        installed = self._system.version_of(component.name)
        if installed is None:
            return False
        wanted = re.search(r"[\d.]+", component.requirement)
        return wanted is None or _numbers(installed) >= _numbers(wanted.group())


def _split(line: str) -> tuple[str, str]:
    """Name and version specifier of a requirement."""
    name = re.match(r"[\w.-]+", line).group()
    return name, line[len(name) :].strip()


def _numbers(version: str) -> tuple[int, ...]:
    """Leading numbers of a version; "2.5.1+cpu" is (2, 5, 1)."""
    return tuple(int(part) for part in re.match(r"[\d.]*", version).group().split(".") if part)


def _explain(error: Exception) -> str:
    """One sentence about a failed installation."""
    text = f"{error} {getattr(error, 'output', '') or ''} {getattr(error, 'stderr', '') or ''}"
    if OFFLINE_SIGNS.search(text):
        return _("The packages cannot be downloaded: there is no connection to the internet. Connect and try again.")
    if "No space left" in text or "Errno 28" in text:
        return _("The packages cannot be installed: the disk is full. Free some space and try again.")
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return _("The installation failed ({reason}). Try again.").format(reason=reason)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
