"""ddsam2 propagate from files to files, with a predictor that needs no network."""

import csv
import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from DDSAM2SlicerLib.cli.propagate import Request, propagate
from DDSAM2SlicerLib.cli.readers import read_image
from DDSAM2SlicerLib.core.prompts import Box, PromptSet


@pytest.fixture
def a_request(tmp_path, a_volume, write_itk):
    array, geometry = a_volume
    return Request(write_itk("ct.nii.gz", array, geometry), tmp_path / "out.nrrd", axis="k")


def read_labels(path):
    return np.stack(read_image(path).arrays)


def test_seed_mask_spreads_to_every_frame_with_its_labels(a_request, a_volume, write_itk, a_predictor):
    array, geometry = a_volume
    seed = np.zeros(array.shape, np.uint8)
    seed[4, 4:9, 5:12] = 1
    seed[4, 10:12, 2:5] = 7
    propagate(replace(a_request, seed_mask=write_itk("seed.nrrd", seed, geometry)), a_predictor)
    labels = read_labels(a_request.output)
    assert read_image(a_request.output).geometry.same_grid_as(geometry)
    np.testing.assert_array_equal(labels[0], np.broadcast_to(seed[4], array.shape))


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        ("k", np.s_[:, 3:6, 2:8]),
        ("j", np.s_[3:6, :, 2:8]),
        ("i", np.s_[3:6, 2:8, :]),
        ("time", np.s_[:, 3:6, 2:8]),
    ],
)
def test_box_lies_in_columns_and_rows_of_the_chosen_axis(a_request, a_predictor, axis, expected):
    propagate(replace(a_request, axis=axis, boxes=(("1", "4", "2", "3", "7", "5"),)), a_predictor)
    wanted = np.zeros((9, 14, 17), bool)
    wanted[expected] = True
    np.testing.assert_array_equal(read_labels(a_request.output)[0], wanted)


def test_range_is_inclusive_and_the_rest_stays_empty(a_request, a_predictor):
    propagate(replace(a_request, frames="2:4", boxes=(("1", "3", "2", "3", "7", "5"),)), a_predictor)
    assert np.flatnonzero(read_labels(a_request.output)[0].any(axis=(1, 2))).tolist() == [2, 3, 4]


def test_points_and_prompt_file_come_together(a_request, a_predictor, tmp_path):
    (tmp_path / "prompts.json").write_text(PromptSet.empty().with_box(2, 5, Box(1, 1, 4, 4)).to_json())
    points = (("2", "5", "2", "3", "-"), ("1", "0", "9", "9", "+"))
    propagate(replace(a_request, prompts=tmp_path / "prompts.json", points=points), a_predictor)
    labels = read_labels(a_request.output)[0]
    assert labels[5, 1, 1] == 2
    assert labels[5, 3, 2] == 0
    assert labels[5, 9, 9] == 1


def test_auto_axis_is_the_one_along_which_the_seed_is_flat(a_request, a_volume, write_itk, a_predictor):
    array, geometry = a_volume
    seed = np.zeros(array.shape, np.uint8)
    seed[3:6, 5, 4:9] = 1
    propagate(replace(a_request, axis="auto", seed_mask=write_itk("seed.nrrd", seed, geometry)), a_predictor)
    assert read_labels(a_request.output)[0][4, :, 6].all()


def test_auto_axis_is_the_one_of_thick_slices(a_request, a_volume, write_itk, a_predictor):
    array, geometry = a_volume
    step = np.array([0.8, 1.1, 2.5]) / [0.8, 1.1, 2.5]
    sagittal = type(geometry)(array.shape, geometry.ijk_to_ras * [*(step * [4, 1, 0.3]), 1])
    request = replace(a_request, input=write_itk("sagittal.nrrd", array, sagittal), axis="auto")
    propagate(replace(request, boxes=(("1", "16", "2", "3", "7", "5"),)), a_predictor)
    assert read_labels(a_request.output)[0][3:6, 2:8, :].all()


def test_series_spreads_through_the_slices_and_then_through_time(tmp_path, a_volume, write_itk, a_predictor):
    array, geometry = a_volume
    path = write_itk("series.nrrd", np.stack([array, array + 5, array - 5]), geometry)
    seed = np.zeros(array.shape, np.uint8)
    seed[4, 4:9, 5:12] = 2
    request = Request(path, tmp_path / "out.seq.nrrd", write_itk("seed.nrrd", seed, geometry), frames="3:5")
    outcome = propagate(request, a_predictor)
    labels = read_labels(tmp_path / "out.seq.nrrd")
    assert labels.shape == (3, 9, 14, 17)
    np.testing.assert_array_equal(labels[:, 3:6], np.broadcast_to(seed[4], (3, 3, 14, 17)))
    assert not labels[:, :3].any()
    assert len(outcome.measured) == 9  # three slices at three times
    assert len(a_predictor.opened) == 4  # one volume, three slice positions


def test_seed_of_a_series_may_sit_on_any_time_point(tmp_path, a_volume, write_itk, a_predictor):
    array, geometry = a_volume
    path = write_itk("series.nrrd", np.stack([array, array + 5, array - 5]), geometry)
    seed = np.zeros((3, *array.shape), np.uint8)
    seed[1, 4, 4:9, 5:12] = 1
    outcome = propagate(Request(path, tmp_path / "out.nii.gz", write_itk("seed.nrrd", seed, geometry)), a_predictor)
    assert outcome.plan.time == 1
    assert read_labels(tmp_path / "out.nii.gz").any(axis=(1, 2, 3)).all()


def test_own_output_of_a_clip_is_accepted_as_its_seed(tmp_path, shared_data, a_predictor):
    clip = shared_data / "timeseries_us" / "Prostate10_video.igs.mhd"
    first = Request(clip, tmp_path / "out.seg.nrrd", boxes=(("1", "4", "100", "80", "200", "160"),))
    propagate(first, a_predictor)
    propagate(Request(clip, tmp_path / "again.seq.nrrd", seed_mask=tmp_path / "out.seg.nrrd"), a_predictor)
    labels = read_labels(tmp_path / "again.seq.nrrd")
    assert labels.shape == (10, 1, 480, 640)
    assert (labels[:, 0, 80:161, 100:201] == 1).all()
    assert labels.sum() == 10 * 81 * 101


def test_names_and_colours_of_a_segmentation_are_kept(tmp_path, a_request, a_predictor):
    import slicerio

    first = replace(a_request, output=tmp_path / "seed.seg.nrrd", boxes=(("5", "3", "2", "3", "7", "5"),))
    propagate(first, a_predictor)
    segmentation = slicerio.read_segmentation(str(tmp_path / "seed.seg.nrrd"))
    segmentation["segments"][0].update(name="Spleen", color=[0.25, 0.5, 0.75])
    slicerio.write_segmentation(str(tmp_path / "seed.seg.nrrd"), segmentation)
    request = replace(a_request, output=tmp_path / "out.seg.nrrd", seed_mask=tmp_path / "seed.seg.nrrd")
    propagate(request, a_predictor)
    segment = slicerio.read_segmentation(str(tmp_path / "out.seg.nrrd"))["segments"][0]
    assert (segment["name"], segment["labelValue"], segment["color"]) == ("Spleen", 5, [0.25, 0.5, 0.75])


def test_dicom_folder_becomes_a_dicom_segmentation(tmp_path, write_dicom, a_predictor):
    import highdicom

    folder = write_dicom(np.random.default_rng(1).integers(0, 99, (5, 8, 9)))
    propagate(Request(folder, tmp_path / "out.dcm", boxes=(("1", "2", "1", "2", "5", "4"),)), a_predictor)
    back = highdicom.seg.segread(tmp_path / "out.dcm")
    assert back.get_volume(combine_segments=True).array.sum() == 5 * 15


def test_ctrl_c_keeps_and_writes_the_finished_frames(a_request, a_predictor):
    fake_open = a_predictor.open

    def open_slowly(source):
        session = fake_open(source)
        answer = session.propagate

        def press_ctrl_c_at_frame_3(*args, **kwargs):
            for result in answer(*args, **kwargs):
                if result.frame == 3:
                    os.kill(os.getpid(), signal.SIGINT)
                yield result

        session.propagate = press_ctrl_c_at_frame_3
        return session

    a_predictor.open = open_slowly
    outcome = propagate(replace(a_request, boxes=(("1", "0", "2", "3", "7", "5"),)), a_predictor)
    assert outcome.was_stopped
    labels = read_labels(a_request.output)[0]
    assert np.flatnonzero(labels.any(axis=(1, 2))).tolist() == [0, 1, 2, 3]


def test_report_has_one_row_per_frame_with_units(a_request, a_predictor, tmp_path):
    report = tmp_path / "report"
    propagate(replace(a_request, report=report, boxes=(("1", "4", "2", "3", "7", "5"),)), a_predictor)
    with (report / "report.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["frame"]) for row in rows] == list(range(9))
    assert [row["prompted"] for row in rows] == ["1" if n == 4 else "0" for n in range(9)]
    assert int(rows[0]["area_px"]) == 18
    assert float(rows[0]["area_mm2"]) == pytest.approx(18 * 0.8 * 1.1, abs=1e-3)
    assert float(rows[0]["volume_mm3"]) == pytest.approx(18 * 0.8 * 1.1 * 2.5, abs=1e-2)
    assert float(rows[0]["score"]) == pytest.approx(0.45)
    for name in ("report_curve.png", "report_montage.png"):
        assert (report / name).read_bytes().startswith(b"\x89PNG")


def test_the_user_is_told_where_one_more_prompt_helps_most(a_request, a_predictor, capsys):
    propagate(replace(a_request, boxes=(("1", "0", "2", "3", "7", "5"),)), a_predictor)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "help most" in line]
    frame = int(line.split()[3])
    assert 4 <= frame < 8
    everywhere = tuple(("1", str(frame), "2", "3", "7", "5") for frame in range(9))
    propagate(replace(a_request, boxes=everywhere), a_predictor)
    assert "help most" not in capsys.readouterr().err


def test_nothing_is_loaded_before_the_input_is_known_to_be_good(a_request, a_predictor):
    from DDSAM2SlicerLib.core.errors import DDSAM2Error

    with pytest.raises(DDSAM2Error):
        propagate(replace(a_request, boxes=(("1", "99", "2", "3", "7", "5"),)), a_predictor)
    assert a_predictor.loaded == 0


def test_frames_may_come_object_by_object(a_request, a_predictor):
    fake_open = a_predictor.open

    def open_split(source):
        session = fake_open(source)
        answer = session.propagate

        def one_by_one(*args, **kwargs):
            for whole in answer(*args, **kwargs):
                for n in range(len(whole.object_ids)):
                    yield SimpleNamespace(
                        frame=whole.frame,
                        object_ids=whole.object_ids[n : n + 1],
                        masks=whole.masks[n : n + 1],
                        scores=whole.scores[n : n + 1],
                    )

        session.propagate = one_by_one
        return session

    a_predictor.open = open_split
    boxes = (("1", "4", "2", "3", "7", "5"), ("2", "4", "2", "8", "7", "11"))
    outcome = propagate(replace(a_request, boxes=boxes), a_predictor)
    assert len(outcome.measured) == 18
    assert set(np.unique(read_labels(a_request.output))) == {0, 1, 2}
