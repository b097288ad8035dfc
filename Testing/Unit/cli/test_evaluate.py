"""Evaluation: which tasks a folder holds, what is scored, and how it is reported."""

import json

import numpy as np
import pytest

from DDSAM2SlicerLib.cli import __main__ as command
from DDSAM2SlicerLib.cli.baselines import BASELINES, copy_mask
from DDSAM2SlicerLib.cli.evaluate import correct, evaluate, make_prompt, score_task, tight_box
from DDSAM2SlicerLib.cli.tasks import Task, iter_tasks
from DDSAM2SlicerLib.core.errors import InputError, SettingsError
from DDSAM2SlicerLib.core.plan import FrameRange
from DDSAM2SlicerLib.core.prompts import Box, Point
from DDSAM2SlicerLib.testing.fakes import FakeEngine
from DDSAM2SlicerLib.testing.phantoms import create_geometry


@pytest.fixture
def a_case(a_volume, write_itk, tmp_path):
    """An image with a label map beside it: a large, a small and a flat object."""
    array, geometry = a_volume
    labels = np.zeros(array.shape, np.uint8)
    labels[2:7, 4:9, 5:12] = 3
    labels[4, 3, 6] = 3  # makes slice 4 the largest
    labels[:, 12:, :2] = 4  # 36 voxels: too few
    labels[0:2, :4] = 5  # two slices: too few
    write_itk("case.nii.gz", array, geometry)
    write_itk("case_seg-manual.nii.gz", labels, geometry)
    return tmp_path


@pytest.fixture
def a_leaking_task():
    """A cone between two bright plates, into which an engine that follows grey values leaks."""
    rows, columns = np.mgrid[:40, :40]
    radii = 9 - np.abs(np.arange(21) - 10) * 0.6
    truth = np.stack([(rows - 20) ** 2 + (columns - 20) ** 2 < radius**2 for radius in radii])
    grey = np.where(truth | (np.abs(columns - 20) < 3), 100.0, 0.0).astype(np.float32)
    return Task("cone", "made", "CT", grey, truth, 10, FrameRange(0, 21), create_geometry(truth.shape))


def test_only_large_objects_on_enough_slices_are_tasks(a_case):
    (task,) = iter_tasks(a_case)
    assert task.name == "case_seg-manual:3"
    assert (task.prompted, task.frame_range.start, task.frame_range.stop) == (4, 2, 7)
    assert task.scored == [2, 3, 5, 6]
    assert task.mask_kji.sum() == 5 * 35 + 1
    assert task.modality == "unknown"


def test_label_map_on_another_grid_is_no_pair(a_case, write_itk, a_volume):
    write_itk("case.nii.gz", a_volume[0])
    assert list(iter_tasks(a_case)) == []


def test_modality_comes_from_the_readme(a_case):
    (a_case / "README.md").write_text("| file | modality |\n|---|---|\n| `case.nii.gz` | FDG-PET SUV |\n")
    (task,) = iter_tasks(a_case)
    assert task.modality == "PET"


def test_shared_data_hold_54_tasks_and_copying_scores_as_measured_independently(shared_data):
    tasks = list(iter_tasks(shared_data))
    assert len(tasks) == 54
    assert {task.modality for task in tasks} == {"CT", "MR", "PET", "phantom"}
    assert len({task.name for task in tasks}) == 54
    scores = [score_task(task, ["copy"], None)["mask"]["copy"] for task in tasks]
    assert np.mean(scores) == pytest.approx(0.546, abs=0.0006)


@pytest.mark.parametrize("method", BASELINES)
def test_baseline_follows_a_shifting_disc(method):
    rows, columns = np.mgrid[:40, :40]
    truth = np.stack([(rows - 20) ** 2 + (columns - 17 - k) ** 2 < 64 for k in range(5)])
    grey = (truth * 100 + np.random.default_rng(0).normal(0, 3, truth.shape)).astype(np.float32)
    found = BASELINES[method](grey, truth[2], 2)
    overlap = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    assert overlap > (0.85 if method == "copy" else 0.95)
    np.testing.assert_array_equal(found[2], truth[2])


def test_copying_ignores_the_image():
    mask = np.eye(3, dtype=bool)
    assert copy_mask(np.zeros((4, 3, 3)), mask, 0).sum() == 12


def test_tight_box_goes_through_the_outer_pixel_centres():
    mask = np.zeros((9, 9), bool)
    mask[2:5, 3:8] = True
    assert tight_box(mask) == Box(3, 2, 7, 4)
    mask[:] = False
    mask[2, 3:8] = True
    assert tight_box(mask) == Box(3, 1.5, 7, 2.5)


def test_click_is_the_most_interior_pixel():
    mask = np.zeros((9, 9), bool)
    mask[2:7, 1:6] = True
    mask[4, 6:] = True
    assert make_prompt(mask, "click", 5).get(1, 5).points == (Point(3, 4, True),)


def test_further_clicks_go_into_the_middle_of_the_largest_error():
    truth, found = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    truth[0:5, 0:5] = found[0:3, 0:5] = True
    found[6:9, 6:9] = True  # nine pixels too many, ten missing
    first = make_prompt(truth, "click", 2)
    second = correct(first, found, truth, 2)
    assert second.get(1, 2).points[1:] == (Point(0, 3, True),)
    found[3:5, 0:5] = True
    assert correct(second, found, truth, 2).get(1, 2).points[2:] == (Point(7, 7, False),)
    assert correct(second, truth, truth, 2) == second


def test_report_has_a_mean_per_prompt_and_method(a_case, a_predictor):
    report = evaluate(a_case, a_predictor, ["model", "copy"])
    assert set(report) == {"summary", "tasks"}
    for kind in ("box", "click", "clicks"):
        assert set(report["summary"][kind]) == {"model", "model_prompted_slice"}
    # the fake copies, so both must agree; 140 of 144 + 140 voxels
    expected = round(2 * 140 / (140 + 4 * 36), 4)
    assert report["summary"]["mask"] == {"model": expected, "copy": expected, "model_empty_beyond": 0.0}
    assert report["tasks"][0]["dataset"] == a_case.name


def test_a_simulated_review_counts_what_was_drawn_and_what_follows_from_it(a_leaking_task):
    scores = score_task(a_leaking_task, ["review"], FakeEngine())
    assert scores["review mask"].keys() == scores["review click"].keys()
    after = [scores["review mask"][f"after_{count}"] for count in (1, 2, 3)]
    others = [scores["review mask"][f"others_after_{count}"] for count in (1, 2, 3)]
    assert after == sorted(after)
    assert others[0] < others[2] < after[2] < 1


def test_several_processes_give_the_same_report(a_case):
    alone = evaluate(a_case, None, ["copy"])
    together = evaluate(a_case, None, ["copy"], jobs=2)
    assert together["summary"] == alone["summary"]


def test_command_prints_a_table_and_writes_json(a_case, capsys, tmp_path):
    target = tmp_path / "figures.json"
    assert command.main(["evaluate", str(a_case), "--methods", "copy", "--json", str(target)]) == 0
    assert "mask:copy" in capsys.readouterr().out
    assert json.loads(target.read_text())["summary"]["mask"]["copy"] == pytest.approx(0.986, abs=1e-3)


def test_unknown_method_and_folder_without_cases_are_explained(tmp_path):
    with pytest.raises(SettingsError, match=r"Unknown method magic\. Accepted: model, copy, demons, growcut"):
        evaluate(tmp_path, None, ["magic"])
    with pytest.raises(InputError, match="no labelled 3D case"):
        evaluate(tmp_path, None, ["copy"])
    with pytest.raises(InputError, match="There is no folder"):
        evaluate(tmp_path / "nowhere", None, ["copy"])
