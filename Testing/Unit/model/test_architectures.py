"""Sizes of the networks, and adapters that begin as nothing."""

from dataclasses import replace
from unittest import mock

import pytest
import torch

from DDSAM2SlicerLib.model import steps
from DDSAM2SlicerLib.model.adapter import AdapterSettings, attach_adapters, detach_adapters
from DDSAM2SlicerLib.model.architectures import ARCHITECTURES, ModelSpec, build_model, count_parameters

SMALL = replace(ARCHITECTURES["hiera_nano"].with_image_size(64), adapters=None, mask_prior=False)


def build_on_meta(spec):
    """Build without memory for weights; sam2's trunk reads numbers off ``torch.linspace``, which stays real."""
    real = torch.linspace
    with mock.patch("torch.linspace", lambda *args: real(*args, device="cpu")), torch.device("meta"):
        return build_model(spec)


@pytest.mark.parametrize(
    ("name", "total", "trunk"),
    [
        ("hiera_tiny", 38_962_498, 26_849_472),
        ("hiera_small", 46_060_354, 33_947_328),
        ("hiera_base_plus", 80_850_178, 68_675_712),
        ("hiera_large", 224_446_642, 212_149_296),
    ],
)
def test_parameter_counts_are_the_published_ones(name, total, trunk):
    model = build_on_meta(ARCHITECTURES[name])
    assert count_parameters(model) == total
    assert count_parameters(model.image_encoder.trunk) == trunk


@pytest.mark.parametrize(
    ("name", "num_blocks", "added"),
    [
        ("hiera_tiny", 2, 49_392),
        ("hiera_tiny", 4, 240_336),
        ("hiera_tiny", 6, 544_080),
        ("hiera_tiny", 8, 847_824),
        ("hiera_tiny", 10, 1_151_568),
        ("hiera_tiny", 12, 2_348_880),
        ("hiera_small", 6, 544_080),
        ("hiera_base_plus", 6, 391_776),
        ("hiera_large", 6, 389_808),
        ("hiera_small", 16, 2_956_368),
        ("hiera_base_plus", 24, 5_918_976),
        ("hiera_large", 48, 18_106_128),
    ],
)
def test_adapters_add_the_published_number_of_parameters(name, num_blocks, added):
    spec = ARCHITECTURES[name]
    model = build_on_meta(replace(spec, adapters=AdapterSettings(num_blocks=num_blocks)))
    adapters = [block.adapter for block in model.image_encoder.trunk.blocks if hasattr(block, "adapter")]
    assert sum(map(count_parameters, adapters)) == added


@pytest.mark.parametrize("topology", ["parallel", "sequential"])
def test_adapters_that_start_at_zero_change_nothing(topology):
    torch.manual_seed(0)
    model, image = build_model(SMALL), torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        plain = steps.encode_image(model, image)
    attach_adapters(model, AdapterSettings(zero_init=True, topology=topology))
    with torch.inference_mode():
        adapted = steps.encode_image(model, image)
    assert torch.equal(plain.embedding, adapted.embedding)
    assert all(map(torch.equal, plain.high_res, adapted.high_res))


def test_adapters_of_the_paper_change_something_and_can_be_detached():
    torch.manual_seed(0)
    model, image = build_model(SMALL), torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        plain = steps.encode_image(model, image).embedding
        attach_adapters(model, AdapterSettings())
        assert not torch.allclose(plain, steps.encode_image(model, image).embedding, atol=1e-4)
        detach_adapters(model)
        assert torch.equal(plain, steps.encode_image(model, image).embedding)


@pytest.mark.parametrize("spec", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
def test_specifications_survive_json(spec):
    assert ModelSpec.from_dict(spec.to_dict()) == spec
