"""Model files: every published layout is read, nothing runs code, damage is one sentence."""

import json
import os
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from DDSAM2SlicerLib.core.errors import OutputError, WeightsError
from DDSAM2SlicerLib.model import checkpoint
from DDSAM2SlicerLib.model.adapter import AdapterSettings
from DDSAM2SlicerLib.model.architectures import ARCHITECTURES, build_model
from DDSAM2SlicerLib.model.checkpoint import load_adapters, load_model, read_metadata, save_adapters, save_checkpoint

NANO = ARCHITECTURES["hiera_nano"].with_image_size(64)


@pytest.fixture(scope="module")
def a_tiny_model():
    torch.manual_seed(5)
    return build_model(ARCHITECTURES["hiera_tiny"])


@pytest.fixture(scope="module")
def a_nano_model():
    torch.manual_seed(6)
    return build_model(NANO)


def assert_equal_weights(model, tensors):
    own = model.state_dict()
    assert own.keys() == tensors.keys()
    assert all(torch.equal(own[key], tensors[key]) for key in own)


@pytest.mark.parametrize("wrapper", ["model", "state_dict", None])
@pytest.mark.parametrize("prefix", ["", "module.", "module.model."])
def test_sam_2_1_files_load_whatever_their_wrapping(tmp_path, a_nano_model, wrapper, prefix):
    # nano stands for any size here; without our own additions it has plain SAM 2.1 keys and adapters
    own = ("mask_prior.", "refiner.")
    tensors = {key: value for key, value in a_nano_model.state_dict().items() if not key.startswith(own)}
    stored = {prefix + key: value for key, value in tensors.items()}
    torch.save({wrapper: stored} if wrapper else stored, tmp_path / "model.pt")
    assert_equal_weights(load_model(tmp_path / "model.pt"), tensors)


def test_a_sam_2_1_tiny_file_loads_for_any_input_size(tmp_path, a_tiny_model):
    torch.save({"model": a_tiny_model.state_dict()}, tmp_path / "sam2.1_hiera_tiny.pt")
    model = load_model(tmp_path / "sam2.1_hiera_tiny.pt", image_size=512)
    assert_equal_weights(model, a_tiny_model.state_dict())
    assert (model.ddsam2_spec.name, model.image_size, model.mask_prior) == ("hiera_tiny", 512, None)


def test_a_sam_2_0_file_without_the_newer_parameters_loads_as_zeros(tmp_path, a_tiny_model):
    newer = ("no_obj_embed_spatial", "obj_ptr_tpos_proj.weight", "obj_ptr_tpos_proj.bias")
    torch.save({"model": {k: v for k, v in a_tiny_model.state_dict().items() if k not in newer}}, tmp_path / "old.pt")
    own = load_model(tmp_path / "old.pt").state_dict()
    assert all(not own[key].any() for key in newer)


@pytest.mark.parametrize(
    "settings",
    [
        AdapterSettings(num_blocks=6),
        AdapterSettings(num_blocks=2, dilations=(1, 3, 5)),
        AdapterSettings(num_blocks=4, dilations=(1, 3, 5), topology="sequential"),
        AdapterSettings(num_blocks=3, reduction=4),
    ],
)
def test_the_authors_flat_format_loads_with_its_adapters(tmp_path, settings):
    spec = (
        ARCHITECTURES["hiera_nano"]
        .with_image_size(64)
        .__class__(**{**NANO.__dict__, "adapters": settings, "mask_prior": False, "refiner": False})
    )
    source = build_model(spec)
    torch.save({f"model.{key}": value for key, value in source.state_dict().items()}, tmp_path / "medsam2_best.pth")
    model = load_model(tmp_path / "medsam2_best.pth")
    assert model.ddsam2_spec.adapters == settings
    assert_equal_weights(model, source.state_dict())


def test_our_own_file_describes_itself(tmp_path, a_nano_model):
    save_checkpoint(a_nano_model, tmp_path / "nano.safetensors", {"licence": "Apache-2.0", "recipe": {"steps": 3}})
    model = load_model(tmp_path / "nano.safetensors")
    assert model.ddsam2_spec == NANO
    assert_equal_weights(model, a_nano_model.state_dict())
    assert read_metadata(tmp_path / "nano.safetensors")["recipe"] == {"steps": 3}


def test_a_file_in_16_bits_is_half_as_large_and_nearly_equal(tmp_path, a_nano_model):
    save_checkpoint(a_nano_model, tmp_path / "full.safetensors", {})
    save_checkpoint(a_nano_model, tmp_path / "half.safetensors", {}, half=True)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.55 * (tmp_path / "full.safetensors").stat().st_size
    own, other = load_model(tmp_path / "half.safetensors").state_dict(), a_nano_model.state_dict()
    assert all(one.dtype == torch.float32 for one in own.values())
    assert all(torch.allclose(own[key], other[key], atol=1e-3, rtol=1e-3) for key in own)


def test_adapters_travel_alone(tmp_path, a_nano_model):
    save_adapters(a_nano_model, tmp_path / "adapters.safetensors", {"data": "mine"})
    plain = build_model(NANO.__class__(**{**NANO.__dict__, "adapters": None}))
    load_adapters(plain, tmp_path / "adapters.safetensors")
    own, other = plain.state_dict(), a_nano_model.state_dict()
    assert plain.ddsam2_spec.adapters == NANO.adapters
    assert all(torch.equal(own[key], other[key]) for key in own if ".adapter." in key)
    assert (tmp_path / "adapters.safetensors").stat().st_size < 300_000


def test_adapters_alone_are_not_opened_as_a_model(tmp_path, a_nano_model):
    save_adapters(a_nano_model, tmp_path / "adapters.safetensors", {})
    with pytest.raises(WeightsError, match=r"adapters\.safetensors holds adapters only\. Choose the model"):
        load_model(tmp_path / "adapters.safetensors")


def test_a_model_stays_as_it_was_when_adapters_do_not_fit_after_all(tmp_path, a_nano_model):
    save_adapters(a_nano_model, tmp_path / "adapters.safetensors", {})
    tensors, header = checkpoint._open_safetensors(tmp_path / "adapters.safetensors")
    tensors.popitem()
    checkpoint._write(tensors, tmp_path / "short.safetensors", header, half=False)
    plain_spec = NANO.__class__(**{**NANO.__dict__, "adapters": None})
    plain = build_model(plain_spec)
    keys = plain.state_dict().keys()
    for name in ("short", "gone"):
        with pytest.raises(WeightsError, match=rf"{name}\.safetensors (does not fit|cannot be read)"):
            load_adapters(plain, tmp_path / f"{name}.safetensors")
        assert plain.state_dict().keys() == keys
        assert plain.ddsam2_spec == plain_spec


def test_adapters_of_another_architecture_are_refused(tmp_path, a_nano_model, a_tiny_model):
    save_adapters(a_nano_model, tmp_path / "adapters.safetensors", {})
    with pytest.raises(WeightsError, match="belong to hiera_nano"):
        load_adapters(a_tiny_model, tmp_path / "adapters.safetensors")
    with pytest.raises(WeightsError, match="no adapters to save"):
        save_adapters(a_tiny_model, tmp_path / "none.safetensors", {})


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        """Remember what to create."""
        self.path = path

    def __reduce__(self):
        """Ask the reader to call a function."""
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("writer", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, writer):
    path, trap = tmp_path / "model.pt", tmp_path / "trap"
    writer({"model": {"weight": Malicious(trap)}}, path)
    with pytest.raises(WeightsError, match="could run code"):
        load_model(path)
    assert not trap.exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("kept", [0, 5, 1000, 100_000])
def test_a_truncated_file_is_called_damaged(tmp_path, a_nano_model, suffix, kept):
    path = tmp_path / f"model{suffix}"
    if suffix == ".pt":
        torch.save({"model": a_nano_model.state_dict()}, path)
    else:
        save_checkpoint(a_nano_model, path, {})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(WeightsError, match="damaged, incomplete or no model file"):
        load_model(path)


def test_a_tampered_file_is_refused(tmp_path, a_nano_model):
    path = tmp_path / "model.safetensors"
    save_checkpoint(a_nano_model, path, {})
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="altered after it was saved"):
        load_model(path)


def test_a_tampered_description_is_refused(tmp_path, a_nano_model):
    path = tmp_path / "model.safetensors"
    save_checkpoint(a_nano_model, path, {})
    header = read_metadata(path)
    header["spec"]["run_this"] = "rm"
    save_file(load_file(path), path, metadata={"ddsam2": json.dumps(header)})
    with pytest.raises(WeightsError, match=r"unknown fields \['run_this'\]"):
        load_model(path)


def test_files_that_are_no_models_are_refused_with_what_is_known(tmp_path, a_nano_model):
    torch.save({"model": {"weight": torch.zeros(3)}}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="Known: hiera_tiny, hiera_small"):
        load_model(tmp_path / "other.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(WeightsError, match="no table of weights"):
        load_model(tmp_path / "list.pt")
    incomplete = a_nano_model.state_dict()
    incomplete.pop("no_mem_embed")
    torch.save(incomplete, tmp_path / "incomplete.pt")
    with pytest.raises(WeightsError, match=r"1 missing \(no_mem_embed\)"):
        load_model(tmp_path / "incomplete.pt")
    with pytest.raises(WeightsError, match="existing model file"):
        load_model(tmp_path / "absent.pt")


def test_a_folder_that_cannot_be_written_is_one_sentence_and_leaves_nothing(tmp_path, a_nano_model):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="Choose another folder"):
        save_checkpoint(a_nano_model, tmp_path / "file" / "model.safetensors", {})
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
