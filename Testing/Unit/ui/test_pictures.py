"""The tutorial's pictures: panel, worker, default model and slice views work on real images, step by step.

``make pictures`` writes them into ``Screenshots/``: it sets DDSAM2_PICTURES to that folder.
The chest CT comes with slicerio, the heart ultrasound with pydicom (both MIT), as for ``ddsam2 demo``.
"""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from DDSAM2SlicerLib.core.prompts import Box
from DDSAM2SlicerLib.weights.catalog import DEFAULT_MODEL, find_entry
from DDSAM2SlicerLib.weights.store import Store

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")
for name in ("torch", "slicerio", "pydicom"):
    pytest.importorskip(name, reason="the pictures need the command line's packages: pip install '.[cli]'")
import pictures  # noqa: E402 (needs slicer)
from pictures import num_tinted, picture_of_view  # noqa: E402
from slice_view import SliceView  # noqa: E402

from DDSAM2SlicerLib.cli.demo import LUNG_WINDOW, VENTRICLE_BOX, find_chest, find_heart  # noqa: E402
from DDSAM2SlicerLib.cli.readers import read_image  # noqa: E402

pytestmark = pytest.mark.slow

WORKER = (sys.executable, "-m", "DDSAM2SlicerLib.worker")
SIZE, HALF, THIRD = (560, 400), (278, 400), (184, 400)
RIGHT, LEFT, BLOOD = (0.9, 0.3, 0.25), (0.25, 0.6, 0.9), (0.95, 0.75, 0.2)
SLICE, FAR_SLICE, LUNGS = 16, 25, (10, 31)
RIGHT_BOX = {1: Box(60, 36, 104, 95)}
LEFT_PX, HEART_PX, SPILLED_PX = ((38, 44), (36, 75)), (58, 77), (87, 85)
"""(column, row): twice in the left lung, in the heart beside it, and in the right lung, which looks the same."""
FRAMES = (7, 14, 21)
LINES, AREA = 300, 4000
"""Pixels that the lines of prompts and curves have at least, and those that an overlay has."""
MAX_BYTES = 300_000


@pytest.fixture
def make_loop(make_loop):
    """The event loop of the real worker and the default model, not of the fake ones."""
    if Store().state(find_entry(DEFAULT_MODEL)) == "missing":
        pytest.skip(f"the default model {DEFAULT_MODEL!r} is not part of this checkout")
    return lambda model: make_loop(model, WORKER)


@pytest.fixture
def folder(tmp_path):
    """Where the pictures go."""
    return Path(os.environ.get("DDSAM2_PICTURES") or tmp_path)


@pytest.fixture
def a_chest(make):
    image = read_image(find_chest()[0])
    volume = make.volume(image.arrays[0].astype(np.int16), image.geometry)
    volume.CreateDefaultDisplayNodes()
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevel(*LUNG_WINDOW)
    return volume


@pytest.fixture
def a_heart_beat(make):
    image = read_image(find_heart())
    browser, sequence = make.sequence(image.arrays, image.geometry)
    for item, time_s in enumerate(image.times_s):
        sequence.UpdateIndexValue(sequence.GetNthIndexValue(item), f"{time_s:.4f}")
    browser.GetProxyNode(sequence).CreateDefaultDisplayNodes()
    return browser


def begin(panel, view, choose, objects):
    """Choose the input and its objects as from a script, so that they have their names from the beginning."""
    panel.ui.viewSelector.setCurrentNode(view.node)
    choose(panel.coordinator)
    for name, color in objects.items():
        panel.coordinator.add_object(name, color)
    panel.enter()


def click(panel, view, frame, *places):
    """Click into a view, at pixels of a frame."""
    view.picture()  # a view that was never drawn takes no clicks
    for x, y in places:
        view.click(view.xy_of(place_of(panel, frame, x, y)))


def draw_boxes(panel, view, frame, boxes):
    """Two clicks for each object."""
    for one, box in boxes.items():
        panel.ui.segmentsTable.setSelectedSegmentIDs([panel.coordinator.notes.segment_ids[one]])
        panel.ui.boxButton.click()
        click(panel, view, frame, (box.x0, box.y0), (box.x1, box.y1))
        found = panel.coordinator.notes.prompts.get(one, frame).box
        assert (found.x0, found.y0, found.x1, found.y1) == pytest.approx((box.x0, box.y0, box.x1, box.y1), abs=0.5)
    for node in slicer.util.getNodesByClass("vtkMRMLMarkupsROINode"):
        node.GetDisplayNode().SetHandlesInteractive(False)  # they hide the image


def click_button(panel, button):
    button.click()
    panel.loop.until_idle()
    assert panel.ui.statusLabel.text == ""


def measured(panel):
    """The chart, and what the panel says about the frame on display."""
    click_button(panel, panel.ui.measureButton)
    (chart,) = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    lines = panel.ui.measureLabel.text.split("\n")
    return chart, lines[-1 - len(panel.coordinator.notes.segment_ids) :]


def place_of(panel, frame, x, y):
    source, index = panel.coordinator.stack.source_of(frame)
    return (source.pixel_to_ras(index) @ [x, y, 0, 1])[:3].tolist()


def test_a_volume_step_by_step(make_panel, booted, a_chest, folder):
    views = SliceView(booted, "Chest", SIZE), SliceView(booted, "Axial", HALF), SliceView(booted, "Coronal", HALF)
    for view, orientation in zip(views, ("Axial", "Axial", "Coronal"), strict=True):
        view.show(a_chest, orientation)
        pictures.zoom(view, 1.15)
    large, axial, coronal = views
    panel = make_panel(DEFAULT_MODEL)
    ui = panel.ui
    begin(panel, large, lambda desk: desk.choose_volume(a_chest), {"right lung": RIGHT, "left lung": LEFT})
    panel.shared.viewing.show(SLICE)
    assert num_tinted(picture_of_view(large), RIGHT) == num_tinted(picture_of_view(large), LEFT) == 0

    draw_boxes(panel, large, SLICE, RIGHT_BOX)
    prompt = picture_of_view(large, f"slice {SLICE}")
    assert num_tinted(prompt, RIGHT) > LINES > num_tinted(prompt, LEFT)

    panel.loop.until_idle()
    assert num_tinted(picture_of_view(large), RIGHT) > num_tinted(prompt, RIGHT) + AREA
    ui.segmentsTable.setSelectedSegmentIDs([panel.coordinator.notes.segment_ids[2]])
    ui.positiveButton.click()
    click(panel, large, SLICE, *LEFT_PX)
    click_button(panel, ui.positiveButton)
    ui.negativeButton.click()
    click(panel, large, SLICE, SPILLED_PX)
    click_button(panel, ui.negativeButton)
    preview = picture_of_view(large, f"slice {SLICE}")
    answer = panel.coordinator.preview.masks[2]
    assert not any(answer[place[::-1]] for place in (HEART_PX, SPILLED_PX))
    assert all(answer[place[::-1]] for place in LEFT_PX)
    assert num_tinted(preview, LEFT) > AREA

    ui.keepLargestCheck.checked = True
    ui.limitCheck.checked = True
    ui.firstSpin.value, ui.lastSpin.value = LUNGS
    click_button(panel, ui.propagateButton)
    ui.frameSlider.value = FAR_SLICE
    axial.node.JumpSliceByCentering(*place_of(panel, FAR_SLICE, 64, 64))
    far = picture_of_view(axial, f"slice {FAR_SLICE}")
    middle = far.width // 2  # as radiologists look at it: the patient's right side is on the left
    right, left = far.crop((0, 0, middle, far.height)), far.crop((middle, 0, *far.size))
    assert num_tinted(right, RIGHT) > AREA > 8 * num_tinted(right, LEFT)
    assert num_tinted(left, LEFT) > AREA > 8 * num_tinted(left, RIGHT)
    parts = far, picture_of_view(coronal, "from the front")
    assert min(num_tinted(parts[1], RIGHT), num_tinted(parts[1], LEFT)) > AREA

    chart, numbers = measured(panel)
    curves = pictures.picture_of_chart(chart, SIZE)
    assert min(num_tinted(curves, RIGHT), num_tinted(curves, LEFT)) > LINES
    assert numbers[0] == f"Frame {FAR_SLICE}:"
    steps = (
        (
            "A box around the right lung, on one slice",
            [f'Button "{ui.boxButton.text}": two clicks.'],
            prompt,
        ),
        (
            "The preview, after three points for the left lung",
            [
                "The preview comes by itself. A box would hold half of the heart here; points do not:",
                f'two clicks with "{ui.positiveButton.text}", then "{ui.negativeButton.text}" where it spilled over.',
            ],
            preview,
        ),
        (
            "All slices",
            [
                f'Button "{ui.propagateButton.text}", here limited to slices {LUNGS[0]} to {LUNGS[1]}',
                f'and with the setting "{ui.keepLargestCheckLabel.text.rstrip(":")}".',
            ],
            pictures.beside(*parts),
        ),
        ("Area of each slice", [f'Button "{ui.measureButton.text}". {numbers[0]}', *numbers[1:]], curves),
    )
    finish(steps, folder / "volume.png")


def test_a_time_series_step_by_step(make_panel, booted, a_heart_beat, folder):
    (volume,) = slicer.util.getNodesByClass("vtkMRMLVectorVolumeNode")
    large, narrow = SliceView(booted, "Heart", SIZE), SliceView(booted, "Narrow", THIRD)
    panel = make_panel(DEFAULT_MODEL)
    ui = panel.ui
    for view in (large, narrow):
        view.show(volume)
    begin(panel, large, lambda desk: desk.choose_sequence(a_heart_beat), {"left ventricle": BLOOD})
    center = place_of(panel, 0, (VENTRICLE_BOX.x0 + VENTRICLE_BOX.x1) / 2, (VENTRICLE_BOX.y0 + VENTRICLE_BOX.y1) / 2)
    pictures.zoom(large, 1.7, center)
    pictures.zoom(narrow, 3, center)
    panel.shared.viewing.show(0)

    def look(view, words):
        return picture_of_view(view, words, has_letters=False)

    before = num_tinted(look(large, ""), BLOOD)  # the device paints its own marks
    draw_boxes(panel, large, 0, {1: VENTRICLE_BOX})
    prompt = look(large, "frame 0")
    assert num_tinted(prompt, BLOOD) > before + LINES
    panel.loop.until_idle()
    preview = look(large, "frame 0")
    assert num_tinted(preview, BLOOD) > num_tinted(prompt, BLOOD) + AREA

    click_button(panel, ui.propagateButton)
    parts = []
    for frame in FRAMES:
        ui.frameSlider.value = frame
        parts.append(look(narrow, f"frame {frame}"))
        assert num_tinted(parts[-1], BLOOD) > AREA
    chart, numbers = measured(panel)
    curves = pictures.picture_of_chart(chart, SIZE)
    assert num_tinted(curves, BLOOD) > LINES
    ui.frameSlider.value = 0
    assert pictures.picture_of_chart(chart, SIZE) != curves  # the mark has moved
    steps = (
        ("A box around the ventricle, on one frame", [f'Button "{ui.boxButton.text}": two clicks.'], prompt),
        ("The preview", ["It comes by itself; more prompts make it better."], preview),
        (
            "All frames",
            [f'Button "{ui.propagateButton.text}"; then move the slider or play the sequence.'],
            pictures.beside(*parts),
        ),
        ("Area through time", [f'Button "{ui.measureButton.text}". {numbers[0]}', *numbers[1:]], curves),
    )
    finish(steps, folder / "time_series.png")


def finish(steps, path):
    pictures.save(pictures.sheet([(title, "\n".join(words), picture) for title, words, picture in steps]), path)
    assert path.stat().st_size < MAX_BYTES
