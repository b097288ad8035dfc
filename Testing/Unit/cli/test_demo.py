"""The demo finds its images in the installed packages and writes what it promises."""

import pytest

from DDSAM2SlicerLib.cli.demo import demo, find_chest, find_heart


def test_images_come_with_installed_packages():
    assert all(path.is_file() for path in (*find_chest(), find_heart()))


def test_demo_writes_segmentations_tables_and_pictures(tmp_path, a_predictor, capsys):
    import slicerio

    scores = demo(tmp_path, a_predictor)
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{stem}{ending}"
        for stem in ("chest_ct", "heart_ultrasound")
        for ending in (".seg.nrrd", ".csv", "_curve.png", "_montage.png")
    }
    # the fake fills the box on every slice: far from a lung, but the same every time
    assert scores["right lung"] == pytest.approx(0.491, abs=0.005)
    assert "Dice of the left lung" in capsys.readouterr().out
    segments = slicerio.read_segmentation(str(tmp_path / "chest_ct.seg.nrrd"), skip_voxels=True)["segments"]
    assert [segment["name"] for segment in segments] == ["right lung", "left lung"]
