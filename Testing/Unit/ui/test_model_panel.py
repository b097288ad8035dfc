"""Models: what the list says of them, downloads beside Slicer, deletion, and the user's own files."""

import hashlib
from types import SimpleNamespace

import pytest

from DDSAM2SlicerLib.weights.catalog import CatalogEntry, build_catalog
from DDSAM2SlicerLib.weights.store import Store

pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")
from DDSAM2SlicerLib.logic.model_list import ModelList

CONTENT = b"x" * (3 << 20)
CATALOG = build_catalog(
    [
        CatalogEntry(
            "big", "hiera_large", "https://x.test/big", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), "MIT", 1024
        ),
        CatalogEntry("nano", "hiera_nano", None, None, None, "Apache-2.0", 256, resource="nano.safetensors"),
    ]
)


class FakeChild:
    """A download that is finished when the test says so."""

    def __init__(self, log=b""):
        """Still running."""
        self.returncode, self.log, self.is_killed = None, log, False

    def poll(self):
        return self.returncode

    def communicate(self):
        return b"", self.log

    def kill(self):
        self.is_killed = True


@pytest.fixture
def a_list(tmp_path):
    """Models in an empty folder; what is started is written down instead."""
    started = []

    def start(command, **_):
        started.append((command, FakeChild()))
        return started[-1][1]

    ticker = SimpleNamespace(start=lambda *_: None, stop=lambda: None)
    store = Store(tmp_path, CATALOG, [tmp_path / "shipped"])
    return ModelList(store, ticker, start), store, started


def test_the_default_model_comes_first_with_size_licence_and_state(a_list):
    models, *_ = a_list
    assert [row.name for row in models.rows()] == ["nano", "big"]
    row = models.row("big")
    assert (row.state, row.size_mib, row.input_size, row.licence) == ("missing", 3, 1024, "MIT")


def test_a_download_shows_how_far_it_is_and_ends(a_list):
    models, store, started = a_list
    models.download("big")
    (command, child) = started[0]
    assert command[-1] == "big"
    assert (models.row("big").state, models.percent) == ("downloading", 0)
    part = store.part_path(store.catalog["big"])
    part.write_bytes(CONTENT[: len(CONTENT) // 2])
    models.poll()
    assert models.percent == 50
    part.write_bytes(CONTENT)
    store.accept(store.catalog["big"], part)
    child.returncode = 0
    models.poll()
    assert (models.row("big").state, models.percent, models.error) == ("ready", None, "")
    models.delete("big")
    assert models.row("big").state == "missing"


def test_a_failed_download_says_why_and_a_cancelled_one_keeps_what_came(a_list):
    models, store, started = a_list
    models.download("big")
    started[0][1].returncode, started[0][1].log = 1, b"noise\nThere is no connection.\n"
    models.poll()
    assert models.error == "There is no connection."
    models.download("big")
    part = store.part_path(store.catalog["big"])
    part.write_bytes(b"abc")
    models.cancel()
    assert started[1][1].is_killed
    assert (models.error, models.percent, part.read_bytes()) == ("", None, b"abc")


def test_the_panel_describes_the_chosen_model_and_says_why_it_cannot_be_deleted(panel):
    ui = panel.ui
    assert ui.modelCombo.currentText == "nano"
    assert "Apache-2.0; " in ui.modelInfoLabel.text
    assert not ui.deleteButton.enabled
    ui.modelCombo.currentIndex = 1
    assert ui.modelInfoLabel.text.endswith("Apache-2.0; not on this computer")
    assert ui.downloadButton.enabled
    assert ui.downloadButton.toolTip.startswith("Download this model (")
    assert ui.deleteButton.toolTip == "The model is not on this computer."


def test_a_file_of_ones_own_is_chosen_and_remembered(make_panel, make_memory, stand_in):
    parameters = make_memory(axis="k", device="cpu")
    panel = make_panel(parameters=parameters)
    assert panel.ui.axisCombo.currentIndex == 3
    stand_in.FileDialog.answer = "/models/mine.pt"
    panel.ui.fileButton.click()
    assert panel.ui.modelCombo.currentText == "mine.pt"
    assert panel.ui.modelInfoLabel.text == "Your own file: /models/mine.pt"
    assert (parameters.model, parameters.device) == ("/models/mine.pt", "cpu")
