"""The prepared encoder and memory attention give what the plain steps give."""

import pytest
import torch

from DDSAM2SlicerLib.engine.encoder import FrameEncoder
from DDSAM2SlicerLib.engine.memory_reader import MemoryReader
from DDSAM2SlicerLib.model import steps
from DDSAM2SlicerLib.model.architectures import ARCHITECTURES, build_model


@pytest.fixture(scope="module")
def a_model():
    torch.manual_seed(2)
    model = build_model(ARCHITECTURES["hiera_nano"].with_image_size(128))
    torch.nn.init.normal_(model.maskmem_tpos_enc)
    return model


def test_the_prepared_encoder_equals_sam2s(a_model):
    image = torch.randn(1, 3, 128, 128)
    with torch.inference_mode():
        expected, found = steps.encode_image(a_model, image), FrameEncoder(a_model).encode(image)
    torch.testing.assert_close(found.embedding, expected.embedding, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.position, expected.position)
    for one, other in zip(found.high_res, expected.high_res, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
@pytest.mark.parametrize("num_pointers", [0, 1, 7])
def test_the_prepared_memory_attention_equals_sam2s(a_model, dtype, tolerance, num_pointers):
    torch.manual_seed(7)
    with torch.inference_mode():
        features = steps.encode_image(a_model, torch.randn(1, 3, 128, 128))
        empty = torch.zeros(1, a_model.mem_dim, 8, 8)
        position = a_model.memory_encoder.position_encoding(empty)
        memories = [torch.randn(2, a_model.mem_dim, 8, 8) for _ in range(4)]
        pointers = [(float(n), torch.randn(2, a_model.hidden_dim)) for n in range(num_pointers)]
        plain = [(t_pos, steps.Memory(one, position, empty)) for t_pos, one in enumerate(memories)]
        expected = steps.attend(a_model, features.expand(2), plain, pointers, 100)
        reader = MemoryReader(a_model, dtype)
        tokens = [one.flatten(2).transpose(1, 2) for one in memories]
        prepared = [(t_pos, one, reader.keys(one)) for t_pos, one in enumerate(tokens)]
        found = reader.read(features, prepared, pointers, 100)
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)
