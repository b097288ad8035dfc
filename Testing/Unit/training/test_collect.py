"""Labelled images are collected from git repositories, as a table says; what cannot be trained on is left out."""

import subprocess

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from scipy import io as matlab

from DDSAM2SlicerLib.core.errors import SettingsError
from DDSAM2SlicerLib.training.atlas import load_label_map
from DDSAM2SlicerLib.training.cli import main
from DDSAM2SlicerLib.training.collect import READERS, TABLE, collect, read_table

SPACING_MM = (0.5, 0.75, 2.0)
TABLE_TEXT = r"""
[[source]]
repository = "someone/volumes"
folder = "kidney"
licence = "CC0"
images = 'scans/(\w+)\.nii\.gz'
labels = ["masks/{1}_left.nii.gz", "masks/{1}_right.nii.gz"]

[[source]]
repository = "someone/pictures"
folder = "lung"
licence = "CC0"
reader = "picture"
images = '(\w+)\.png'
labels = ["masks/{1}*.png"]
pieces = "inside"

[[source]]
repository = "someone/gone"
folder = "gone"
licence = "CC0"
images = '.*'

[[source]]
repository = "someone/matlab"
folder = "spine"
licence = "CC0"
reader = "matlab"
images = '(\d+)\.mat'
"""


def write_volume(path, values):
    image = sitk.GetImageFromArray(values, isVector=False)
    image.SetSpacing((*SPACING_MM, 1.0)[: image.GetDimension()])
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


def commit(folder):
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)


@pytest.fixture
def box():
    mask = np.zeros((8, 30, 40), np.uint8)
    mask[2:6, 5:15, 5:15] = 1
    return mask


@pytest.fixture
def repositories(tmp_path, box):
    """Three repositories: volumes, of which one shows next to nothing, pictures, and a MATLAB file."""
    volumes, pictures, files = (tmp_path / name for name in ("volumes", "pictures", "matlab"))
    image = np.arange(box.size, dtype=np.int16).reshape(box.shape)
    for name, mask in (("a", box), ("speck", box * (np.indices(box.shape)[2] == 7))):
        write_volume(volumes / f"scans/{name}.nii.gz", image)
        write_volume(volumes / f"masks/{name}_left.nii.gz", mask)
    with_landmarks = np.stack([np.roll(box, 20, axis=2), np.ones_like(box)])
    write_volume(volumes / "masks/a_right.nii.gz", with_landmarks)
    write_volume(volumes / "scans/unlabelled.nii.gz", image)
    (pictures / "masks").mkdir(parents=True)
    Image.fromarray(np.full((60, 80, 3), (10, 20, 60), np.uint8)).save(pictures / "x.png")
    lungs = np.zeros((30, 40), np.uint8)
    lungs[5:25, 3:17], lungs[5:25, 22:37], lungs[0, 0] = 250, 250, 250  # and a speck
    Image.fromarray(lungs).save(pictures / "masks" / "x_mask.png")
    files.mkdir()
    matlab.savemat(files / "7.mat", {"I": image.transpose(1, 2, 0), "GT": box.transpose(1, 2, 0).astype(float)})
    for folder in (volumes, pictures, files):
        commit(folder)
    (tmp_path / "table.toml").write_text(TABLE_TEXT, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("host", ["{name}", "file://{name}"])
def test_images_are_collected_with_their_labels(repositories, box, host, caplog):
    folder = repositories / "images"
    place = host.replace("{name}", f"{repositories}/{{name}}")
    counts = collect(folder, place, repositories / "table.toml")
    assert counts == {"kidney": 1, "lung": 1, "spine": 1}
    assert "someone/volumes" not in caplog.text
    assert "200 voxels" in caplog.text
    assert {path.name for path in folder.rglob("*.nii.gz")} == {
        "someone_a_image.nii.gz",
        "someone_a_labels.nii.gz",
        "someone_x_image.nii.gz",
        "someone_x_labels.nii.gz",
        "someone_7_image.nii.gz",
        "someone_7_labels.nii.gz",
    }
    kidneys = sitk.ReadImage(str(folder / "kidney/someone_a_labels.nii.gz"))
    assert kidneys.GetSpacing() == pytest.approx(SPACING_MM)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(kidneys), box + 2 * np.roll(box, 20, axis=2))
    lungs = load_label_map(folder / "lung/someone_x_labels.nii.gz")
    assert set(lungs.boxes) == {1, 2}
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "lung/someone_x_image.nii.gz"))).max() == 30
    spine = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "spine/someone_7_labels.nii.gz")))
    np.testing.assert_array_equal(spine, box)


def test_one_kind_alone_can_be_collected(repositories):
    folder = repositories / "images"
    assert collect(folder, f"{repositories}/{{name}}", repositories / "table.toml", only="spine") == {"spine": 1}
    with pytest.raises(SettingsError, match=r"Give one of \['gone', 'kidney', 'lung', 'spine'\]"):
        collect(folder, f"{repositories}/{{name}}", repositories / "table.toml", only="liver")


def test_without_git_it_says_so(repositories, monkeypatch):
    monkeypatch.setenv("PATH", str(repositories))
    with pytest.raises(SettingsError, match="git is not installed"):
        collect(repositories / "images", f"{repositories}/{{name}}", repositories / "table.toml")


def test_the_table_of_the_default_model_can_be_used():
    sources = read_table(TABLE)
    assert len({one.folder for one in sources}) > 20
    assert all(one.licence and one.reader in READERS for one in sources)


@pytest.mark.parametrize("text", ["[[source]]\nrepo = 'a/b'", "source = 3", "[[source]]\nreader = 'dicom'"])
def test_a_table_that_cannot_be_used_is_refused(tmp_path, text):
    path = tmp_path / "table.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=r"table\.toml"):
        read_table(path)


def test_the_command_says_how_many_images_it_has_found(repositories, capsys, monkeypatch):
    monkeypatch.setattr(
        "DDSAM2SlicerLib.training.collect.read_table", lambda _: read_table(repositories / "table.toml")
    )
    assert main(["collect", str(repositories / "images"), "--host", f"{repositories}/{{name}}"]) == 0
    assert capsys.readouterr().out == "3 images in 3 folders\n"
