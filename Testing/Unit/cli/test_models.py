"""``ddsam2 models``: what is listed, and what is said before a download."""

import pytest

from DDSAM2SlicerLib.cli import models
from DDSAM2SlicerLib.weights.catalog import CATALOG
from DDSAM2SlicerLib.weights.store import Store


@pytest.fixture
def a_store(tmp_path):
    return Store(tmp_path)


def test_every_model_is_listed_with_its_state(a_store, capsys):
    models.list_models(a_store)
    lines = capsys.readouterr().out.splitlines()
    for name in CATALOG:
        assert sum(line.split()[:1] == [name] for line in lines) == 1, name
    assert any("nano (default)" in line and "shipped" in line for line in lines)
    assert any(line.startswith("sam2.1_hiera_tiny") and "missing" in line for line in lines)


@pytest.mark.parametrize(("name", "is_warned"), [("MedSAM2_latest", True), ("sam2.1_hiera_tiny", False)])
def test_a_file_without_a_published_hash_is_announced_before_it_is_fetched(
    a_store, capsys, monkeypatch, name, is_warned
):
    said_before = []
    monkeypatch.setattr(models, "download", lambda *_: said_before.append(capsys.readouterr().err))
    models.download_model(a_store, name)
    assert ("cannot be verified" in said_before[0]) is is_warned


def test_a_model_that_is_there_is_not_fetched_again(a_store, capsys):
    models.download_model(a_store, "nano")
    assert "already at" in capsys.readouterr().out
