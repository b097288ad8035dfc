"""The training loop: recipes are validated, runs resume to the step, learning happens."""

import csv
import math
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
import torch

from DDSAM2SlicerLib.core.errors import DDSAM2Error, SettingsError
from DDSAM2SlicerLib.model.architectures import ARCHITECTURES, build_model
from DDSAM2SlicerLib.model.checkpoint import load_model, read_metadata, save_checkpoint
from DDSAM2SlicerLib.training import validation
from DDSAM2SlicerLib.training.cli import main
from DDSAM2SlicerLib.training.config import Stage, load_recipe
from DDSAM2SlicerLib.training.export import blend, export_average
from DDSAM2SlicerLib.training.loop import Trainer, decay_groups, is_over, learning_rate

pytest.importorskip("lightning_fabric", reason="training needs lightning-fabric (extra 'training')")

RECIPE = """
architecture = "hiera_nano"
seed = 7
validate_every = 1000
{more}
[[stage]]
name = "tiny"
steps = {steps}
clips_per_step = 2
fresh_per_step = 1
pool = 8
warmup = 2
clip = {{ num_frames = 2, size = 64, scene_size = 64, min_object_px = 30 }}
"""


@pytest.fixture
def a_recipe(tmp_path):
    def write(steps, more=""):
        path = tmp_path / "recipe.toml"
        path.write_text(RECIPE.format(steps=steps, more=more), encoding="utf-8")
        return load_recipe(path)

    return write


def test_a_run_stops_saves_and_goes_on_at_the_same_step(a_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(validation, "NUM_CLIPS", 2)
    Trainer(a_recipe(2), tmp_path / "run", num_workers=0, accelerator="cpu").run()
    resumed = Trainer(a_recipe(3), tmp_path / "run", num_workers=0, accelerator="cpu")
    assert resumed.step == 2
    before = resumed.model.get_parameter("image_encoder.trunk.patch_embed.proj.weight").clone()
    resumed.run()
    assert resumed.step == 3
    assert not torch.equal(before, resumed.model.get_parameter("image_encoder.trunk.patch_embed.proj.weight"))
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    assert [row["step"] for row in rows] == ["2", "3"]
    assert 0 < float(rows[0]["copy"]) <= 1
    assert list((tmp_path / "run").glob("sheet_*.png"))
    export_average(a_recipe(3), tmp_path / "run", tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").stat().st_size < 12e6
    assert load_model(tmp_path / "model.safetensors").ddsam2_spec.refiner


def test_a_stage_ends_when_its_minutes_are_over_and_the_next_one_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(validation, "NUM_CLIPS", 1)
    text = RECIPE.format(steps=100000, more="[every_stage]\nminutes = 0.00001")
    second = text[text.index("[[stage]]") :].replace('"tiny"', '"second"')
    (tmp_path / "recipe.toml").write_text(text + second, encoding="utf-8")
    trainer = Trainer(load_recipe(tmp_path / "recipe.toml"), tmp_path / "run", num_workers=0, accelerator="cpu")
    trainer.run()
    assert (trainer.step, trainer.stage, trainer.stage_step) == (2, 1, 1)
    assert [row["stage"] for row in csv.DictReader((tmp_path / "run" / "log.csv").open())] == ["tiny", "second"]
    with pytest.raises(SettingsError, match="run on one device"):
        Trainer(load_recipe(tmp_path / "recipe.toml"), tmp_path / "other", accelerator="cpu", devices=2)


def test_a_step_whose_gradient_overflows_changes_nothing(a_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(validation, "NUM_CLIPS", 1)
    trainer = Trainer(a_recipe(1), tmp_path / "run", num_workers=0, accelerator="cpu")
    monkeypatch.setattr(trainer, "objective", lambda *_: sum(p.sum() for p in trainer.model.parameters()) * math.inf)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.run()
    assert trainer.step == 1
    assert all(torch.equal(before[name], value) for name, value in trainer.model.state_dict().items())


def test_a_run_starts_from_exported_weights_in_sixteen_bits(a_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(validation, "NUM_CLIPS", 1)
    spec = ARCHITECTURES["hiera_nano"]
    first = build_model(spec)
    save_checkpoint(first, tmp_path / "start.safetensors", {})
    recipe = a_recipe(1, 'start = "start.safetensors"\nprecision = "bf16-mixed"')
    trainer = Trainer(recipe, tmp_path / "run", num_workers=0, accelerator="cpu")
    name = "image_encoder.trunk.patch_embed.proj.weight"
    torch.testing.assert_close(trainer.model.get_parameter(name), first.get_parameter(name))
    trainer.run()
    assert trainer.step == 1
    assert torch.isfinite(trainer.model.get_parameter(name)).all()


@pytest.mark.parametrize("alone", ["true", "false"])
def test_only_the_refiner_learns_where_the_recipe_says_so(a_recipe, tmp_path, monkeypatch, alone):
    monkeypatch.setattr(validation, "NUM_CLIPS", 1)
    old = build_model(replace(ARCHITECTURES["hiera_nano"], refiner=False))
    save_checkpoint(old, tmp_path / "start.safetensors", {})
    text = RECIPE.format(steps=2, more='start = "start.safetensors"\ntrains = "refiner"') + f"alone = {alone}\n"
    (tmp_path / "recipe.toml").write_text(text, encoding="utf-8")
    trainer = Trainer(load_recipe(tmp_path / "recipe.toml"), tmp_path / "run", num_workers=0, accelerator="cpu")
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.run()
    changed = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("refiner.") for name in changed)
    assert all(torch.equal(before[name], value) for name, value in old.state_dict().items())


def test_what_every_stage_shares_is_written_once(tmp_path):
    text = """
        architecture = "hiera_nano"
        seed = 1
        [every_stage]
        steps = 5
        clip = { num_frames = 3, label_maps = "maps" }
        [[stage]]
        name = "first"
        [[stage]]
        name = "second"
        steps = 7
    """
    (tmp_path / "recipe.toml").write_text(text, encoding="utf-8")
    first, second = load_recipe(tmp_path / "recipe.toml").stages
    assert (first.steps, second.steps) == (5, 7)
    assert first.clip == second.clip
    assert first.clip.num_frames == 3
    assert first.clip.label_maps == str(tmp_path / "maps")  # beside the recipe


def test_weights_of_another_network_cannot_start_a_recipe(a_recipe, tmp_path):
    save_checkpoint(build_model(ARCHITECTURES["hiera_tiny"]), tmp_path / "start.safetensors", {})
    recipe = a_recipe(1, 'start = "start.safetensors"')
    with pytest.raises(DDSAM2Error, match="cannot start a recipe for hiera_nano"):
        Trainer(recipe, tmp_path / "run", num_workers=0, accelerator="cpu")


def test_the_gain_of_the_prior_does_not_decay_by_itself():
    model = build_model(ARCHITECTURES["hiera_nano"])
    decayed, kept = decay_groups(model, 0.05)
    assert any(parameter is model.mask_prior.gain for parameter in kept["params"])
    assert kept["weight_decay"] == 0
    assert len(decayed["params"]) + len(kept["params"]) == len(list(model.parameters()))


def test_every_committed_recipe_can_be_read():
    folder = files("DDSAM2SlicerLib.training") / "recipes"
    recipes = {path.name: load_recipe(path) for path in folder.iterdir() if path.suffix == ".toml"}
    assert {"nano_network.toml", "nano.toml", "anatomy.toml", "recorded.toml"} <= set(recipes)
    assert all(recipe.architecture in ARCHITECTURES for recipe in recipes.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nano_network.toml", "nano.toml"])
def test_two_hundred_steps_of_a_committed_recipe_lower_the_loss(tmp_path, monkeypatch, name):
    monkeypatch.setattr(validation, "NUM_CLIPS", 2)
    recipe = load_recipe(files("DDSAM2SlicerLib.training") / "recipes" / name)
    stage = replace(recipe.stages[0], steps=200, minutes=0.0, pool=200, warmup=20)
    trainer = Trainer(replace(recipe, stages=(stage,), start=""), tmp_path / "run", num_workers=0, accelerator="cpu")
    boxes, step = [], trainer._train_step  # one kind of prompt: the kinds differ more than a few steps matter

    def note(batch, *others):
        loss = step(batch, *others)
        if batch.kind == "box":
            boxes.append(loss)
        return loss

    monkeypatch.setattr(trainer, "_train_step", note)
    trainer.run()
    assert trainer.step == 200
    third = len(boxes) // 3
    assert np.mean(boxes[-third:]) < 0.95 * np.mean(boxes[:third])


def test_an_exported_file_tells_its_recipe_but_no_folder(a_recipe, tmp_path):
    recipe = a_recipe(1, 'start = "start.safetensors"')
    stage = replace(recipe.stages[0], clip=replace(recipe.stages[0].clip, label_maps=str(tmp_path / "maps")))
    recipe = replace(recipe, stages=(stage,))
    average = build_model(recipe.spec).state_dict()
    (tmp_path / "run").mkdir()
    (tmp_path / "maps").mkdir()
    for name in ("a_labels.nii.gz", "a_image.nii.gz", "b.nii.gz"):
        (tmp_path / "maps" / name).touch()
    torch.save({"stage": 0, "step": 1, "average": average}, tmp_path / "run" / "checkpoint.pt")
    export_average(recipe, tmp_path / "run", tmp_path / "model.safetensors")
    told = read_metadata(tmp_path / "model.safetensors")
    assert told["data"] == "generated clips, and 2 label maps, 1 of them with their images"
    assert told["recipe"]["stages"][0]["clip"]["label_maps"] == "maps"
    assert str(tmp_path) not in str(told)


def test_a_blend_lies_between_two_models_of_one_architecture(tmp_path):
    spec, paths = ARCHITECTURES["hiera_nano"], [tmp_path / f"{name}.safetensors" for name in ("old", "new", "mean")]
    models = [build_model(spec), build_model(spec)]
    for model, path in zip(models, paths, strict=False):
        save_checkpoint(model, path, {"steps": 5})
    assert main(["blend", str(paths[0]), str(paths[1]), "--share", "0.25", "--output", str(paths[2])]) == 0
    name = "sam_mask_decoder.iou_token.weight"
    old, new, mean = (model.get_parameter(name) for model in (*models, load_model(paths[2])))
    torch.testing.assert_close(mean, 0.75 * old + 0.25 * new, atol=1e-3, rtol=1e-2)
    assert read_metadata(paths[2])["blended_with"] == "old.safetensors"
    with pytest.raises(SettingsError, match="a share of 0 to 1"):
        blend(paths[0], paths[1], tmp_path / "no.safetensors", 2.0)
    assert not (tmp_path / "no.safetensors").exists()


def test_exporting_an_empty_folder_says_how_to_train(a_recipe, tmp_path):
    with pytest.raises(DDSAM2Error, match="Train first"):
        export_average(a_recipe(1), tmp_path / "nothing", tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("seed = ", "cannot be read"),
        ('architecture = "hiera_nano"\nseed = 1', "no \\[\\[stage\\]\\]"),
        (
            RECIPE.format(steps=1, more="").replace("warmup", "wormup"),
            r"Unknown training settings \['wormup'\] for Stage",
        ),
        (RECIPE.format(steps=0, more=""), "must be at least 1"),
        (RECIPE.format(steps=1, more="").replace("pool", "minutes = -1\npool"), "must not be negative"),
        (RECIPE.format(steps=1, more="").replace("pool", "corrected = 0.1\npool"), "needs alone = true"),
        (RECIPE.format(steps=1, more='trains = "network"') + "alone = true\n", "accept all or refiner"),
    ],
)
def test_a_recipe_that_cannot_be_used_is_refused(tmp_path, text, sentence):
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=sentence):
        load_recipe(path)


def test_the_learning_rate_warms_up_and_ends_low():
    stage = Stage("s", steps=100, warmup=10, learning_rate=1.0, final_learning_rate=0.1)
    rates = [learning_rate(stage, index) for index in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] < 0.11


def test_the_learning_rate_follows_the_clock_where_that_is_further():
    stage = Stage("s", steps=100, minutes=1, warmup=10, learning_rate=1.0, final_learning_rate=0.1)
    assert learning_rate(stage, 10, seconds=30.0) == pytest.approx(0.55)
    assert learning_rate(stage, 99, seconds=0.0) < 0.11
    assert learning_rate(stage, 10, seconds=70.0) == pytest.approx(0.1)
    assert is_over(stage, 10, 60.0)
    assert is_over(stage, 100, 1.0)
    assert not is_over(stage, 99, 59.0)
    assert not is_over(replace(stage, minutes=0.0), 99, 1e9)
