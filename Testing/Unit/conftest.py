"""Shared fixtures; also keeps the numeric libraries to one thread, so that tests run side by side without a fight."""

import os
import subprocess
from pathlib import Path

import pytest

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ.setdefault(variable, "1")

REPOSITORY = Path(__file__).resolve().parents[2]


def find_shared_data() -> Path:
    """Locate the folder of real test images: ``$DDSAM2_SHARED_DATA``, or ``../shared/data`` beside the main checkout.

    A linked worktree or a local clone may lie elsewhere, so the folder beside the main worktree counts as well.
    """
    if override := os.environ.get("DDSAM2_SHARED_DATA"):
        return Path(override)
    beside = REPOSITORY.parent / "shared" / "data"
    if beside.is_dir():
        return beside
    command = ["git", "-C", str(REPOSITORY), "rev-parse", "--path-format=absolute", "--git-common-dir"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        return beside
    return Path(answer.stdout.strip()).parent.parent / "shared" / "data"


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout under test."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real test images; the test is skipped, with the reason, where it is not available."""
    folder = find_shared_data()
    if not folder.is_dir():
        pytest.skip(f"no shared test data at {folder}; set DDSAM2_SHARED_DATA to its folder")
    return folder
