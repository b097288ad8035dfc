"""Fixtures of the worker's tests: a small clip with its truth, and clients of a worker that runs the fake engine."""

import sys
from pathlib import Path

import pytest

from DDSAM2SlicerLib.core.frames import TimeFrames
from DDSAM2SlicerLib.core.prompts import PromptSet
from DDSAM2SlicerLib.testing.phantoms import create_beating_heart
from DDSAM2SlicerLib.worker.client import WorkerClient

sys.path.insert(0, str(Path(__file__).parent))

FAKE_COMMAND = (sys.executable, "-m", "DDSAM2SlicerLib.worker", "--fake")
NUM_FRAMES = 10
SEED_FRAME = 3


@pytest.fixture(scope="session")
def heart():
    """Clip of a beating heart: label 1 is blood, label 2 muscle."""
    return create_beating_heart(NUM_FRAMES, size=48)


@pytest.fixture(scope="session")
def frames(heart):
    """The clip as frames."""
    return TimeFrames(heart.array)


@pytest.fixture(scope="session")
def prompts(heart):
    """Blood and muscle on one frame."""
    empty = PromptSet.empty()
    return empty.with_mask(1, SEED_FRAME, heart.labels[SEED_FRAME] == 1).with_mask(
        2, SEED_FRAME, heart.labels[SEED_FRAME] == 2
    )


@pytest.fixture
def make_client():
    """Make clients that end with the test, whatever happens in it."""
    clients = []

    def make(command=FAKE_COMMAND, **options):
        clients.append(WorkerClient(command, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close(grace_s=0.0)


@pytest.fixture
def client(make_client):
    """A client of the fake engine."""
    return make_client()
