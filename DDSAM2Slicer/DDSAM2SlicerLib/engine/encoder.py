"""sam2's image encoder without work whose result is constant or thrown away (layer: engine).

Equal to ``steps.encode_image`` up to rounding: position encodings are computed once, and the two fine levels go
through one 1x1 convolution (lateral and decoder convolution multiplied) instead of two, which never builds the wide
maps in between.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..model.steps import Features


class FrameEncoder:
    """Encodes one frame at a time; holds references to the model's modules and a few small constants."""

    def __init__(self, model: torch.nn.Module) -> None:
        """Prepare the constants; later changes of the model's weights are not seen."""
        self._trunk = model.image_encoder.trunk
        self._neck = model.image_encoder.neck
        decoder = model.sam_mask_decoder
        # the neck's convolutions run from the coarsest level to the finest
        _, self._conv_16, conv_8, conv_4 = (level.conv for level in self._neck.convs[-4:])
        self._conv_32 = self._neck.convs[0].conv
        with torch.no_grad():
            self._fused_4 = _multiply(decoder.conv_s0, conv_4)
            self._fused_8 = _multiply(decoder.conv_s1, conv_8)
            side = model.image_size // 4
            self._trunk_position = self._trunk._get_pos_embed((side, side)).clone()
            embedding = self._fused_4[0].new_zeros(1, self._neck.d_model, side // 4, side // 4)
            self._position = self._neck.position_encoding(embedding).flatten(2).permute(2, 0, 1).clone()

    def encode(self, image: torch.Tensor) -> Features:
        """Run the encoder on one normalised frame (1, 3, S, S)."""
        x = self._trunk.patch_embed(image) + self._trunk_position  # (1, S/4, S/4, C)
        levels = []
        for number, block in enumerate(self._trunk.blocks):
            x = block(x)
            if number in self._trunk.stage_ends:
                levels.append(x.permute(0, 3, 1, 2))
        stride_4, stride_8, stride_16, stride_32 = levels
        coarse = F.interpolate(self._conv_32(stride_32).float(), scale_factor=2.0, mode="nearest")
        embedding = self._conv_16(stride_16) + coarse
        high_res = (F.conv2d(stride_4, *self._fused_4), F.conv2d(stride_8, *self._fused_8))
        return Features(embedding, high_res, self._position)


def _multiply(outer: torch.nn.Conv2d, inner: torch.nn.Conv2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of one 1x1 convolution that does what ``outer(inner(x))`` does."""
    outer_weight, inner_weight = (conv.weight.detach().double()[:, :, 0, 0] for conv in (outer, inner))
    bias = outer_weight @ inner.bias.detach().double() + outer.bias.detach().double()
    weight = (outer_weight @ inner_weight)[:, :, None, None]
    return weight.to(outer.weight.dtype), bias.to(outer.weight.dtype)
