"""sam2's memory attention, arranged for streaming: same result up to rounding, less work per frame (layer: engine).

Exact savings over ``steps.attend``:

* values stay at the memory's width (64 instead of 256 channels): attention weights sum to one, so projecting the
  average equals averaging the projections, and the value and output projections become one matrix;
* each memory's rotated keys are computed once; only the temporal encoding, a constant per distance, is added per
  frame;
* the first self-attention sees the frame only, so it runs once for all objects.

Rotary pairs are stored as two halves instead of interleaved; dot products do not depend on the order of channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..model.steps import Features, encode_pointers

QUERY_ROWS = {torch.float32: 256, torch.bfloat16: 1024}
"""Queries per block on a CPU: their scores should stay in its cache."""

Affine = tuple[torch.Tensor, torch.Tensor]  # weight (out, in), bias (out)


@dataclass(frozen=True, eq=False)
class _Layer:
    """One attention layer with its projections rearranged."""

    norms: tuple[torch.nn.LayerNorm, torch.nn.LayerNorm, torch.nn.LayerNorm]
    self_query: Affine
    self_key: Affine
    self_value: Affine
    self_out: Affine
    cross_query: Affine
    cross_key: Affine
    cross_out: Affine  # value and output projection in one, from memory width to model width
    up: Affine
    down: Affine
    key_position: torch.Tensor  # (h*w, C) keys of the spatial encoding alone, bias included
    key_time: torch.Tensor  # (num_maskmem, h*w, C) rotated keys of the temporal encodings alone


class MemoryReader:
    """Conditions a frame on memories; made once per model, weights and number format are fixed then."""

    def __init__(self, model: torch.nn.Module, dtype: torch.dtype = torch.float32) -> None:
        """Rearrange the projections of ``model.memory_attention``; later changes of its weights are not seen."""
        self._model = model
        self._dtype = dtype
        self._norm = model.memory_attention.norm
        side = model.image_size // 16
        device = model.maskmem_tpos_enc.device
        rotation = (
            model.memory_attention.layers[0].self_attn.compute_cis(end_x=side, end_y=side).to(device)
        )  # (h*w, C/2) complex
        self._cos, self._sin = rotation.real.contiguous(), rotation.imag.contiguous()
        with torch.no_grad():
            empty = torch.zeros(1, model.mem_dim, side, side, device=device)
            position = model.memory_encoder.position_encoding(empty).flatten(2)[0].T  # (h*w, Cm)
            self._layers = [self._prepare(layer, position) for layer in model.memory_attention.layers]

    def keys(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        """Rotated keys (B, h*w, C) of one memory's tokens (B, h*w, Cm) for every layer, without temporal encoding."""
        tokens = tokens.to(self._dtype)
        return [
            self._rotate(F.linear(tokens, layer.cross_key[0]) + layer.key_position).to(self._dtype)
            for layer in self._layers
        ]

    def read(
        self,
        features: Features,
        spatial: list[tuple[int, torch.Tensor, list[torch.Tensor]]],
        pointers: list[tuple[float, torch.Tensor]],
        num_frames: int,
    ) -> torch.Tensor:
        """Condition a frame on memories.

        Args:
            features: Encoder output of one frame (not expanded).
            spatial: (t_pos, tokens (B, h*w, Cm), keys) as in ``steps.attend``; ``keys`` from this class's method.
            pointers: (signed distance in frames, (B, C) object pointer).
            num_frames: Length of the stack.

        Returns:
            (B, C, h, w) embedding for the decoder, fp32.
        """
        _, channels, height, width = features.embedding.shape
        batch = spatial[0][1].shape[0]
        x = features.embedding.flatten(2).transpose(1, 2).float()  # (1, h*w, C)
        x = x + 0.1 * features.position.transpose(0, 1)
        x = x + self._self_attention(self._layers[0], x)
        pointer_tokens, pointer_positions = self._pointers(pointers, num_frames, batch)
        values = torch.cat([*(tokens.to(self._dtype) for _, tokens, _ in spatial), pointer_tokens], dim=1)
        # on a CPU one object at a time keeps its working set in the cache
        groups = [slice(row, row + 1) for row in range(batch)] if x.device.type == "cpu" else [slice(0, batch)]
        outputs = []
        for rows in groups:
            own_pointers = pointer_tokens[rows] + pointer_positions
            own = [(t_pos, [key[rows] for key in keys]) for t_pos, _, keys in spatial]
            outputs.append(self._read_group(x.expand(values[rows].shape[0], -1, -1), values[rows], own, own_pointers))
        return torch.cat(outputs).transpose(1, 2).reshape(batch, channels, height, width)

    def _read_group(
        self,
        x: torch.Tensor,
        values: torch.Tensor,
        spatial: list[tuple[int, list[torch.Tensor]]],
        pointer_tokens: torch.Tensor,
    ) -> torch.Tensor:
        """Run all layers for some objects; the first self-attention has been added to ``x`` (B, h*w, C) already."""
        for number, layer in enumerate(self._layers):
            if number:
                x = x + self._self_attention(layer, x)
            keys = self._assemble_keys(layer, [(t_pos, keys[number]) for t_pos, keys in spatial], pointer_tokens)
            query = self._rotate(_linear(self._normed(layer.norms[1], x), layer.cross_query))
            mean = _weighted_mean(query, keys, values)
            x = x + _linear(mean, layer.cross_out)
            hidden = F.relu(_linear(self._normed(layer.norms[2], x), layer.up))
            x = x + _linear(hidden, layer.down)
        return self._norm(x)

    def _assemble_keys(
        self, layer: _Layer, spatial: list[tuple[int, torch.Tensor]], pointer_tokens: torch.Tensor
    ) -> torch.Tensor:
        """Write all keys of a layer side by side: memories with their temporal encoding, then pointers."""
        batch, num_pointers, _ = pointer_tokens.shape
        tokens, channels = self._cos.shape[0], layer.key_time.shape[2]
        keys = pointer_tokens.new_empty(batch, len(spatial) * tokens + num_pointers, channels)
        for place, (t_pos, key) in enumerate(spatial):
            time = layer.key_time[self._model.num_maskmem - t_pos - 1]
            torch.add(key, time, out=keys[:, place * tokens : (place + 1) * tokens])
        keys[:, len(spatial) * tokens :] = _linear(pointer_tokens, layer.cross_key)
        return keys

    def _self_attention(self, layer: _Layer, x: torch.Tensor) -> torch.Tensor:
        """What a layer's self-attention adds to ``x`` (B, h*w, C)."""
        normed = self._normed(layer.norms[0], x)
        query = self._rotate(_linear(normed, layer.self_query))
        key = self._rotate(_linear(normed, layer.self_key))
        return _linear(_weighted_mean(query, key, _linear(normed, layer.self_value)), layer.self_out)

    def _pointers(
        self, pointers: list[tuple[float, torch.Tensor]], num_frames: int, batch: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pointer tokens (B, N, Cm), none without pointers, and their temporal encoding (1, N, Cm)."""
        if not pointers:
            nothing = torch.zeros(batch, 0, self._model.mem_dim, dtype=self._dtype, device=self._cos.device)
            return nothing, nothing[:1]
        tokens, positions = encode_pointers(self._model, pointers, num_frames)
        return tokens.transpose(0, 1).to(self._dtype), positions[:, :1].transpose(0, 1).to(self._dtype)

    def _normed(self, norm: torch.nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
        """Layer norm in fp32, result in the number format of the projections."""
        return norm(x).to(self._dtype)

    def _rotate(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the rotary encoding to (B, h*w, C) whose pairs lie in two halves."""
        first, second = x.chunk(2, dim=-1)
        rotated = (first * self._cos - second * self._sin, first * self._sin + second * self._cos)
        return torch.cat(rotated, dim=-1).to(x.dtype)

    def _prepare(self, layer: torch.nn.Module, position: torch.Tensor) -> _Layer:
        """Rearrange one layer; ``position`` (h*w, Cm) is the spatial encoding of memories."""
        own, cross = layer.self_attn, layer.cross_attn_image
        scale = 1 / math.sqrt(own.internal_dim)
        key_weight, key_bias = _halves(cross.k_proj)
        time = self._model.maskmem_tpos_enc[:, 0] @ key_weight.T  # (num_maskmem, 1, C)
        value_weight, value_bias = cross.v_proj.weight, cross.v_proj.bias
        merged = cross.out_proj.weight @ value_weight, cross.out_proj.weight @ value_bias + cross.out_proj.bias
        affines = {
            "self_query": _halves(own.q_proj, scale),
            "self_key": _halves(own.k_proj),
            "self_value": (own.v_proj.weight, own.v_proj.bias),
            "self_out": (own.out_proj.weight, own.out_proj.bias),
            "cross_query": _halves(cross.q_proj, scale),
            "cross_key": (key_weight, key_bias),
            "cross_out": merged,
            "up": (layer.linear1.weight, layer.linear1.bias),
            "down": (layer.linear2.weight, layer.linear2.bias),
        }
        return _Layer(
            norms=(layer.norm1, layer.norm2, layer.norm3),
            key_position=(position @ key_weight.T + key_bias).to(self._dtype),
            key_time=self._rotate(time.expand(-1, position.shape[0], -1)).to(self._dtype),
            **{name: (weight.to(self._dtype), bias.to(self._dtype)) for name, (weight, bias) in affines.items()},
        )


def _halves(projection: torch.nn.Linear, scale: float = 1.0) -> Affine:
    """Weight and bias with the interleaved rotary pairs moved to two halves, times ``scale``."""
    order = torch.cat([torch.arange(0, projection.out_features, 2), torch.arange(1, projection.out_features, 2)])
    order = order.to(projection.weight.device)
    return projection.weight[order] * scale, projection.bias[order] * scale


def _linear(x: torch.Tensor, affine: Affine) -> torch.Tensor:
    """Apply a projection in its own number format."""
    return F.linear(x.to(affine[0].dtype), *affine)


def _weighted_mean(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Softmax attention (B, N, Cv) of scaled queries (B, N, C) over keys (B, M, C) and values (B, M, Cv)."""
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None], scale=1.0)[:, 0]
    rows = QUERY_ROWS[query.dtype]
    blocks = [torch.softmax(block @ key.transpose(1, 2), dim=-1) @ value for block in query.split(rows, dim=1)]
    return torch.cat(blocks, dim=1)
