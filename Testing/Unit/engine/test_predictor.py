"""Loading: a model by name or file, with adapters and settings."""

import pytest

from DDSAM2SlicerLib.core.settings import EngineSettings
from DDSAM2SlicerLib.engine.predictor import load_predictor
from DDSAM2SlicerLib.model.architectures import ARCHITECTURES, build_model
from DDSAM2SlicerLib.model.checkpoint import save_adapters, save_checkpoint


@pytest.mark.parametrize(
    ("with_adapters", "asked", "used"),
    [(False, "auto", "auto"), (True, "auto", "always"), (True, "never", "never"), (True, "always", "always")],
)
def test_adapters_of_ones_own_help_to_follow_masks_unless_told_otherwise(tmp_path, with_adapters, asked, used):
    model = build_model(ARCHITECTURES["hiera_nano"].with_image_size(64))
    save_checkpoint(model, tmp_path / "model.safetensors", {})
    save_adapters(model, tmp_path / "adapters.safetensors", {})
    adapters = tmp_path / "adapters.safetensors" if with_adapters else ""
    settings = EngineSettings(memory_use=asked)
    predictor = load_predictor(tmp_path / "model.safetensors", "cpu", settings, adapters=adapters)
    assert predictor.settings == EngineSettings(memory_use=used)
