"""The list of models: what it promises, and how it refuses."""

import dataclasses
import re

import pytest

from DDSAM2SlicerLib.core.errors import WeightsError
from DDSAM2SlicerLib.weights.catalog import CATALOG, DEFAULT_MODEL, build_catalog, find_entry


@pytest.mark.parametrize("entry", CATALOG.values(), ids=CATALOG)
def test_every_entry_says_where_it_comes_from_and_under_which_licence(entry):
    assert entry.licence
    assert entry.architecture in {"hiera_nano", "hiera_tiny", "hiera_small", "hiera_base_plus", "hiera_large"}
    assert entry.input_size in {128, 512, 1024}
    assert entry.is_shipped or (entry.url.startswith("https://") and entry.size_bytes > 100_000_000)
    assert entry.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", entry.sha256)


def test_the_default_model_is_shipped_and_public_models_are_not():
    assert [name for name, entry in CATALOG.items() if entry.is_shipped] == [DEFAULT_MODEL]


def test_sam2_models_are_verifiable_and_medsam2_models_say_that_they_are_not():
    assert {name.split("_")[0]: entry.is_verifiable for name, entry in CATALOG.items() if not entry.is_shipped} == {
        "sam2.1": True,
        "MedSAM2": False,
    }


def test_addresses_file_names_and_hashes_are_unique():
    for values in (
        [entry.url for entry in CATALOG.values() if entry.url],
        [entry.filename.casefold() for entry in CATALOG.values()],
        [entry.sha256 for entry in CATALOG.values() if entry.sha256],
    ):
        assert len(set(values)) == len(values)


def test_a_model_is_found_whatever_the_case_of_its_name():
    assert find_entry("medsam2_LATEST").name == "MedSAM2_latest"


def test_an_unknown_name_is_refused_with_near_matches():
    with pytest.raises(WeightsError, match=r"no model named 'sam2.1_hiera_tinny'.*'sam2.1_hiera_tiny'"):
        find_entry("sam2.1_hiera_tinny")


def test_a_name_like_no_other_is_refused_with_the_whole_list():
    with pytest.raises(WeightsError, match=r"no model named 'xyz'.*nano.*sam2.1_hiera_large"):
        find_entry("xyz")


def test_two_entries_of_one_name_are_refused(verified):
    with pytest.raises(WeightsError, match="lists 'public' twice"):
        build_catalog([verified, verified])


@pytest.mark.parametrize("change", [{"url": None}, {"resource": "public.pt"}], ids=["nowhere", "two places"])
def test_an_entry_comes_from_exactly_one_place(verified, change):
    with pytest.raises(WeightsError, match="either a url or a resource"):
        dataclasses.replace(verified, **change)


def test_the_catalog_cannot_be_changed(verified):
    with pytest.raises(TypeError):
        CATALOG["public"] = verified
