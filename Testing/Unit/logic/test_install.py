"""One question, the right order, one sentence for everything that can go wrong, and trying again works; no network."""

import ast
import os
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest

from DDSAM2SlicerLib.logic import install

EVERYTHING = ["torch", "hydra-core", "iopath", "numpy", "pillow", "safetensors", "tqdm", "setuptools", "sam2"]


class FakeSystem:
    """Packages come and go as the test says."""

    def __init__(self, installed=(), errors=()):
        """Begin with some packages installed and errors in store."""
        self.versions = dict.fromkeys(installed, "99.0")
        self.errors = list(errors)
        self.calls = []

    def version_of(self, name):
        return self.versions.get(name)

    def install_torch(self, requirement):
        self._install("torch " + requirement, ["torch"])

    def install_packages(self, requirements):
        self._install(" ".join(requirements), [one.split(">")[0] for one in requirements])

    def install_pinned(self, requirements_file):
        self._install(requirements_file.name, ["sam2"])

    def _install(self, call, names):
        self.calls.append(call)
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error
        self.versions.update(dict.fromkeys(names, "99.0"))


@pytest.fixture
def questions():
    return []


@pytest.fixture
def make_installer(questions):
    def make(system, answer=True, **options):
        def ask(question):
            questions.append(question)
            return answer

        return install.Installer(ask, system, **options)

    return make


def test_nothing_is_asked_if_nothing_is_missing(make_installer, questions):
    assert make_installer(FakeSystem(EVERYTHING)).ensure() == install.Outcome(True, "")
    assert questions == []


def test_one_question_names_everything_with_sizes_and_torch_comes_first_and_sam2_last(make_installer, questions):
    system = FakeSystem(["numpy", "pillow", "tqdm", "setuptools"])
    outcome = make_installer(system).ensure()
    assert outcome == install.Outcome(True, "Everything is installed.")
    assert len(questions) == 1
    assert "torch (0.2 GB, with a CUDA graphics card up to 3 GB)" in questions[0]
    assert "sam2 (0.1 MB)" in questions[0]
    assert "numpy" not in questions[0]
    assert system.calls == [
        "torch >=2.5.1",
        "hydra-core>=1.3.2 iopath>=0.1.10 safetensors>=0.4.3",
        "requirements-sam2.txt",
    ]


def test_a_version_that_is_too_old_counts_as_missing(make_installer):
    system = FakeSystem(EVERYTHING)
    system.versions["torch"] = "2.4.9+cpu"
    assert [one.name for one in make_installer(system).missing()] == ["torch"]
    system.versions["torch"] = "2.5.1+cu124"
    assert make_installer(system).missing() == []


def test_refusing_installs_nothing(make_installer):
    system = FakeSystem()
    outcome = make_installer(system, answer=False).ensure()
    assert not outcome.is_ready
    assert outcome.sentence.startswith("Nothing was installed.")
    assert system.calls == []


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            subprocess.CalledProcessError(1, "pip", "Failed to establish a new connection: [Errno -3]"),
            "no connection to the internet",
        ),
        (OSError(28, "No space left on device"), "the disk is full"),
        (subprocess.CalledProcessError(1, "pip"), "The installation failed (Command 'pip' returned"),
        (RuntimeError("User declined"), "The installation failed (User declined). Try again."),
        (KeyboardInterrupt(), "interrupted. Try again: it goes on with what is missing"),
        (install.InstallError("The extension PyTorch is needed"), "The extension PyTorch is needed"),
    ],
)
def test_a_failure_is_one_sentence_and_trying_again_goes_on_with_what_is_missing(make_installer, error, sentence):
    system = FakeSystem(["setuptools"], errors=[None, error])
    installer = make_installer(system)
    outcome = installer.ensure()
    assert not outcome.is_ready
    assert sentence in outcome.sentence
    assert "\n" not in outcome.sentence
    system.calls.clear()
    assert installer.ensure().is_ready
    assert not any(call.startswith("torch ") for call in system.calls)


def test_an_installation_that_does_nothing_is_noticed(make_installer):
    system = FakeSystem(EVERYTHING[:-1])
    system.install_pinned = lambda requirements_file: None  # Slicer in testing mode skips installations
    assert "sam2 is still missing" in make_installer(system).ensure().sentence


def test_an_old_python_is_told_which_slicer_to_get(make_installer, questions):
    outcome = make_installer(FakeSystem(), version_info=(3, 9, 10)).ensure()
    assert not outcome.is_ready
    assert "has Python 3.9; SAM 2 needs Python 3.11 or later. Install Slicer 5.10 or later" in outcome.sentence
    assert questions == []
    assert install.unsupported_reason((3, 9, 10), "5.8.1").startswith("Slicer 5.8.1 has Python 3.9")
    assert install.unsupported_reason((3, 12, 10)) == ""


def test_the_file_can_be_read_by_the_python_of_slicer_5_8():
    for name in (install.__file__, install.__file__.replace("install.py", "__init__.py")):
        with open(name, encoding="utf-8") as file:  # noqa: PTH123 (as plain as it gets)
            ast.parse(file.read(), feature_version=(3, 9))


@pytest.fixture
def pip_calls(monkeypatch):
    """Stand-ins for Slicer 5.10's pip_install and the PyTorch extension; records what they are asked."""
    calls = []
    util = ModuleType("slicer.util")
    util.pip_install = lambda requirements: calls.append((requirements, os.environ.get("SAM2_BUILD_CUDA")))
    logic = SimpleNamespace(installTorch=lambda **options: calls.append(options))
    torch_utilities = ModuleType("PyTorchUtils")
    torch_utilities.PyTorchUtilsLogic = lambda: logic
    torch_utilities.__spec__ = SimpleNamespace()
    package = ModuleType("slicer")
    package.__path__ = []
    for module in (package, util, torch_utilities):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


def test_slicer_5_10_installs_with_slicer_util(pip_calls, tmp_path):
    system = install.System()
    system.install_torch(">=2.5.1")
    system.install_packages(["iopath>=0.1.10"])
    system.install_pinned(tmp_path / "pinned.txt")
    assert pip_calls == [
        {"askConfirmation": False, "torchVersionRequirement": ">=2.5.1"},
        (["iopath>=0.1.10"], None),
        (["--no-build-isolation", "--no-deps", "--require-hashes", "-r", str(tmp_path / "pinned.txt")], "0"),
    ]
    assert "SAM2_BUILD_CUDA" not in os.environ


def test_slicer_5_12_installs_with_slicer_packaging_without_a_second_question(pip_calls, monkeypatch):
    packaging = ModuleType("slicer.packaging")
    packaging.pip_ensure = lambda requirements, **options: pip_calls.append((requirements, options))
    packaging.__spec__ = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    install.System().install_packages(["iopath>=0.1.10"])
    assert pip_calls == [
        (["iopath>=0.1.10"], {"prompt_install": False, "prompt_restart": False, "requester": "DDSAM2Slicer"})
    ]


def test_a_missing_pytorch_extension_is_named():
    with pytest.raises(install.InstallError, match="extension PyTorch is needed and not installed"):
        install.System().install_torch(">=2.5.1")


def test_versions_are_those_of_this_python():
    assert install.System().version_of("pytest") == pytest.__version__
    assert install.System().version_of("no-such-package-anywhere") is None
