"""Model files on disk: found by name or path, verified each time, adopted without a network, deleted."""

from pathlib import Path

import pytest

from DDSAM2SlicerLib.core.errors import WeightsError
from DDSAM2SlicerLib.weights.catalog import CATALOG
from DDSAM2SlicerLib.weights.store import FOLDER_VARIABLE, Store, default_folder, hash_file


@pytest.fixture
def a_file(tmp_path, content):
    """A model file the user has from elsewhere."""
    path = tmp_path / "from a colleague.pt"
    path.write_bytes(content)
    return path


def test_state_tells_shipped_ready_and_missing_apart(a_store, a_file, shipped, verified, unverified):
    a_store.adopt(a_file, "public")
    assert [a_store.state(entry) for entry in (shipped, verified, unverified)] == ["shipped", "ready", "missing"]


def test_a_store_creates_no_folder_before_it_keeps_something(a_store, verified):
    assert a_store.state(verified) == "missing"
    assert not a_store.folder.exists()


def test_a_shipped_model_is_found_by_name(a_store):
    assert a_store.resolve("own").read_bytes() == b"own weights"


def test_the_first_shipped_folder_that_has_the_file_is_used(tmp_path, a_store, shipped):
    store = Store(tmp_path / "models", a_store.catalog, [tmp_path / "not there", *a_store.shipped_folders])
    assert store.path(shipped) == a_store.path(shipped)


def test_any_existing_file_can_be_used_by_its_path(a_store, a_file):
    assert a_store.resolve(str(a_file)) == a_file


def test_a_file_in_the_working_folder_does_not_hide_a_model_of_that_name(a_store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own").write_bytes(b"something else")
    assert a_store.resolve("own").read_bytes() == b"own weights"


@pytest.mark.parametrize("given", ["folder/own", "own.safetensors"])
def test_a_path_that_is_not_there_is_reported_as_a_path(a_store, given):
    with pytest.raises(WeightsError, match=f"no model file {given}"):
        a_store.resolve(given)


def test_a_misspelt_name_is_refused_with_a_near_match(a_store):
    with pytest.raises(WeightsError, match=r"no model named 'pubic'.*'public'"):
        a_store.resolve("pubic")


def test_a_model_that_was_not_downloaded_says_so(a_store):
    with pytest.raises(WeightsError, match="'public' is not on this computer"):
        a_store.resolve("public")


def test_a_shipped_model_that_is_gone_asks_for_a_new_installation(a_store, shipped):
    a_store.path(shipped).unlink()
    with pytest.raises(WeightsError, match="Install the extension again"):
        a_store.resolve("own")


def test_a_file_is_adopted_by_its_hash_whatever_its_name(a_store, a_file, content, verified):
    assert a_store.adopt(a_file) == verified
    assert a_store.resolve("public").read_bytes() == content
    assert a_file.exists()


def test_a_file_of_a_model_without_known_hash_is_adopted_by_its_name(a_store, tmp_path, unverified):
    file = tmp_path / "Unhashed.pt"
    file.write_bytes(b"whatever the page offered")
    assert a_store.adopt(file) == unverified
    assert a_store.recorded_sha256(unverified) == hash_file(file)


def test_a_file_that_is_not_what_its_name_says_is_not_adopted(a_store, tmp_path):
    file = tmp_path / "public.pt"
    file.write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"not the published 'public'.*use it by its path"):
        a_store.adopt(file)
    assert file.read_bytes() == b"something else"
    assert not a_store.folder.exists()


def test_a_file_of_no_model_is_not_adopted(a_store, tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("no model")
    with pytest.raises(WeightsError, match="no model named 'notes'"):
        a_store.adopt(file)


def test_a_file_that_is_not_there_is_not_adopted(a_store, tmp_path):
    with pytest.raises(WeightsError, match=r"no file .*nowhere.pt"):
        a_store.adopt(tmp_path / "nowhere.pt")


@pytest.mark.parametrize("name", ["public", "unhashed"])
def test_a_file_that_changed_after_it_arrived_is_refused(a_store, a_file, name):
    entry = a_store.adopt(a_file, name)
    with a_store.path(entry).open("r+b") as file:
        file.write(b"tampered")
    with pytest.raises(WeightsError, match=f"has changed.*Delete the model '{name}'"):
        a_store.resolve(name)


def test_delete_frees_the_space_and_the_model_is_missing_again(a_store, a_file, content, verified):
    a_store.adopt(a_file)
    assert a_store.delete(verified) > len(content)
    assert a_store.state(verified) == "missing"
    assert list(a_store.folder.iterdir()) == []


def test_delete_removes_an_unfinished_download_too(a_store, verified):
    a_store.folder.mkdir()
    a_store.part_path(verified).write_bytes(b"12345")
    assert a_store.delete(verified) == 5
    assert a_store.delete(verified) == 0


def test_a_shipped_model_cannot_be_deleted(a_store, shipped):
    with pytest.raises(WeightsError, match="part of the extension"):
        a_store.delete(shipped)
    assert a_store.state(shipped) == "shipped"


def test_an_unusable_folder_is_reported_in_one_sentence(tmp_path, a_store, a_file):
    (tmp_path / "occupied").write_text("a file, not a folder")
    store = Store(tmp_path / "occupied" / "models", a_store.catalog)
    with pytest.raises(
        WeightsError, match=r"Cannot keep the model 'public' in .*occupied.*cannot be used.*DDSAM2_MODELS"
    ):
        store.adopt(a_file)


def test_the_folder_can_be_moved_by_a_variable(monkeypatch, tmp_path):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "elsewhere"))
    assert default_folder() == tmp_path / "elsewhere"
    monkeypatch.delenv(FOLDER_VARIABLE)
    assert default_folder().parts[-2:] == ("ddsam2slicer", "models")


def test_every_shipped_model_of_the_catalog_is_in_the_checkout():
    store = Store()
    assert {name: store.state(entry) for name, entry in CATALOG.items() if entry.is_shipped} == {"nano": "shipped"}
