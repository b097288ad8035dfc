"""What cannot be used is refused with one sentence on stderr and exit code 2, before a model is loaded."""

import numpy as np
import pytest

from DDSAM2SlicerLib.cli import __main__ as command
from DDSAM2SlicerLib.cli import loading
from DDSAM2SlicerLib.core.settings import EngineSettings

BOX = ("--box", "1", "4", "2", "3", "7", "5")


@pytest.fixture
def run(monkeypatch, capsys, tmp_path, a_predictor):
    """Run ``ddsam2 propagate`` with a predictor that needs no network; returns exit code and the error's sentence."""
    monkeypatch.setattr(loading, "PredictorLoader", lambda *_args: a_predictor)

    def run(path, *options, output="out.nrrd"):
        code = command.main(["propagate", str(path), "-o", str(tmp_path / output), *map(str, options)])
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("ddsam2:", "Warning:"))]
        return code, "\n".join(lines)

    return run


@pytest.fixture
def a_file(a_volume, write_itk):
    return write_itk("ct.nrrd", *a_volume)


def test_model_device_adapters_and_settings_reach_the_loader(run, a_file, a_predictor, monkeypatch):
    asked = []
    monkeypatch.setattr(loading, "PredictorLoader", lambda *choice: asked.append(choice) or a_predictor)
    run(a_file, *BOX, "--axis", "k", "--model", "m.pt", "--device", "cpu", "--adapters", "a.safetensors")
    run(
        a_file,
        *BOX,
        "--memory-use",
        "never",
        "--no-zoom",
        "--memory-rule",
        "diverse",
        "--min-certainty",
        "0.5",
        "--threads",
        "3",
    )
    chosen = EngineSettings(memory_use="never", zoom=False, memory_rule="diverse", min_certainty=0.5, threads=3)
    assert asked == [("m.pt", "cpu", "a.safetensors", EngineSettings()), ("nano", "auto", "", chosen)]


def test_adapters_that_do_not_exist_are_one_sentence(a_file, tmp_path, capsys):
    pytest.importorskip("torch", reason="the real engine needs torch")
    gone = tmp_path / "gone.safetensors"
    options = ("--axis", "k", "--device", "cpu", "--adapters", str(gone))
    assert command.main(["propagate", str(a_file), "-o", str(tmp_path / "out.nrrd"), *BOX, *options]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"ddsam2: {gone} cannot be read")
    assert not (tmp_path / "out.nrrd").exists()


def test_good_input_exits_0_without_a_complaint(run, a_file, tmp_path):
    assert run(a_file, *BOX, "--axis", "k") == (0, "")
    assert (tmp_path / "out.nrrd").is_file()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "There is no prompt. Give --seed-mask, --box, --point or --prompts."),
        ((*BOX, "--zoom-margin", "7"), "Setting 'zoom_margin' is 7.0; it must be from 0.05 to 1.0."),
        (("--box", "1", "40", "2", "3", "7", "5"), "frame 40: the stack has frames 0 to 8 only"),
        (("--box", "1", "4", "2", "3", "70", "5"), "Object 1, frame 4"),
        (("--point", "1", "4", "-3", "5", "+"), "Object 1, frame 4"),
        (("--point", "1", "4", "3", "5", "*"), "must end with + (part of the object) or -"),
        (("--point", "1", "4", "3", "5", "-"), "Object 1 has no prompt that shows it"),
        (("--box", "1", "x", "2", "3", "7", "5"), "--box 1 x 2 3 7 5 is not usable"),
        ((*BOX, "--frames", "5:7"), "outside of frames 5 to 7"),
        ((*BOX, "--frames", "5:99"), "--frames 5:99 is not usable: give FIRST:LAST, both included, within 0:8"),
        ((*BOX, "--frames", "7:5"), "--frames 7:5 is not usable"),
        ((*BOX, "--prompts", "/nowhere.json"), "/nowhere.json cannot be read"),
        ((*BOX, "--seed-mask", "/nowhere.nrrd"), "no file or folder /nowhere.nrrd"),
    ],
)
def test_unusable_prompt_or_range_is_explained(run, a_file, a_predictor, options, sentence):
    code, text = run(a_file, "--axis", "k", *options)
    assert code == 2
    assert sentence in text
    assert len(text.splitlines()) == 1
    assert a_predictor.loaded == 0


def test_empty_seed_mask_is_refused(run, a_file, a_volume, write_itk):
    array, geometry = a_volume
    seed = write_itk("seed.nrrd", np.zeros(array.shape, np.uint8), geometry)
    code, text = run(a_file, "--seed-mask", seed)
    assert code == 2
    assert "is empty: no voxel is labelled" in text


def test_seed_on_another_grid_is_refused(run, a_file, a_volume, write_itk):
    array, _ = a_volume
    code, text = run(a_file, "--seed-mask", write_itk("seed.nrrd", np.ones(array.shape, np.uint8)))
    assert code == 2
    assert "lies on another grid" in text


def test_seed_that_holds_no_labels_is_refused(run, a_file, a_volume, write_itk):
    array, geometry = a_volume
    code, text = run(a_file, "--seed-mask", write_itk("seed.nrrd", array.astype(np.float32) + 0.5, geometry))
    assert code == 2
    assert "does not hold labels" in text


def test_nan_and_infinite_voxels_are_mapped_with_a_warning(run, a_volume, write_itk, tmp_path):
    array, geometry = a_volume
    array = array.astype(np.float32)
    array[0, 0, :3] = np.nan, np.inf, -np.inf
    code, text = run(write_itk("odd.nrrd", array, geometry), *BOX)
    assert code == 0
    assert text.startswith("Warning: 3 ")
    assert len(text.splitlines()) == 1
    assert (tmp_path / "out.nrrd").is_file()


def test_image_without_a_finite_voxel_is_refused(run, a_volume, write_itk):
    array, geometry = a_volume
    code, text = run(write_itk("nan.nrrd", np.full(array.shape, np.nan, np.float32), geometry), *BOX)
    assert code == 2
    assert "finite" in text


def test_constant_image_is_refused(run, a_volume, write_itk):
    array, geometry = a_volume
    code, text = run(write_itk("flat.nrrd", np.full(array.shape, 7, np.int16), geometry), *BOX)
    assert code == 2
    assert "is constant: every voxel is 7" in text


def test_one_slice_volume_is_refused_along_its_short_axis(run, a_volume, write_itk):
    array, _ = a_volume
    path = write_itk("slice.nrrd", array[4:5])
    code, text = run(path, "--box", "1", "0", "2", "3", "7", "5", "--axis", "k")
    assert code == 2
    assert "has only one frame along axis k" in text


def test_real_one_slice_volume_is_refused(run, shared_data):
    code, text = run(
        shared_data / "odd_geometry" / "adi_slice.nrrd", "--box", "1", "0", "2", "3", "7", "5", "--axis", "k"
    )
    assert code == 2
    assert "has only one frame along axis k" in text


def test_clip_has_no_other_axis_than_time(run, shared_data):
    code, text = run(shared_data / "timeseries_us" / "Prostate10_video.igs.mhd", *BOX, "--axis", "i")
    assert code == 2
    assert "frames in time only" in text


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("dicom_odd/failing_sliceorientation_001", "different orientation"),
        ("dicom_odd/siemens_fmri_001", "mosaic"),
        ("dicom_gantry_tilt_ct/ge_tilt", "tilted CT gantry"),
        ("tiny_formats/image4x4x4x4x4.mha", "5 axes"),
        ("tiny_formats/-10_10_Int8.mha", "only one frame"),
        ("odd_geometry/CIT168.nii.gz", "4 values per voxel"),
    ],
)
def test_real_image_that_cannot_be_used_is_explained(run, shared_data, path, sentence):
    code, text = run(shared_data / path, *BOX)
    assert code == 2
    assert sentence in text
    assert len(text.splitlines()) == 1


def test_unwritable_output_is_noticed_before_the_model_is_loaded(run, a_file, a_predictor, tmp_path):
    (tmp_path / "file").touch()
    code, text = run(a_file, *BOX, output="file/out.nrrd")
    assert code == 2
    assert "Cannot write" in text
    assert a_predictor.loaded == 0


def test_overwriting_the_input_is_refused(run, a_file):
    before = a_file.read_bytes()
    code, text = run(a_file, *BOX, output=a_file.name)
    assert code == 2
    assert "would overwrite" in text
    assert a_file.read_bytes() == before


def test_debug_shows_where_an_error_came_from(run, a_file, capsys, tmp_path):
    assert command.main(["propagate", str(a_file), "-o", str(tmp_path / "o.nrrd"), "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--model", "nanno"), "There is no model named 'nanno'. Did you mean 'nano'?"),
        (("--model", "/nowhere/model.pt"), "no model file /nowhere/model.pt"),
        (("--device", "cuda:77"), "is not there"),
        (("--device", "abacus"), "'abacus' is unknown"),
    ],
)
def test_unknown_model_or_absent_device_is_explained(a_file, capsys, tmp_path, options, sentence):
    code = command.main(["propagate", str(a_file), "-o", str(tmp_path / "out.nrrd"), *BOX, "--axis", "k", *options])
    assert code == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out.nrrd").exists()
