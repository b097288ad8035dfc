"""Depthwise-dilated adapters of DD-SAM2, attached to Hiera blocks from outside (layer: model).

Source: Xu, Kabat, Zhang 2025, arXiv 2507.14613 (Mach. Learn.: Sci. Technol., doi 10.1088/2632-2153/ae13d1),
    re-implemented from its description. Sub-module names follow the authors' state dict (``pw1.0``, ``dw2_1.0``,
    ``dw2_2.0``, ``pw2.0``, or ``blk.{j}.0``).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import nn

from ..core.errors import SettingsError

TOPOLOGIES = ("parallel", "sequential")


@dataclass(frozen=True)
class AdapterSettings:
    """Shape of the adapters; the defaults are the paper's."""

    num_blocks: int = 6
    """Adapters sit behind the first ``num_blocks`` blocks of the trunk."""
    dilations: tuple[int, ...] = (1, 3)
    topology: str = "parallel"
    """``parallel`` sums the branches; ``sequential`` chains them as residual steps (the authors' dilation ablation)."""
    reduction: int = 2
    output_activation: bool = True
    zero_init: bool = False
    """Start with a last layer of zeros, so that the adapted network equals SAM 2 until it is trained."""

    def __post_init__(self) -> None:
        """Reject shapes that cannot be built.

        Raises:
            SettingsError: If a count is not positive or the topology is unknown.
        """
        if self.num_blocks < 1 or self.reduction < 1 or not self.dilations or min(self.dilations) < 1:
            msg = f"{self} is not usable: num_blocks, reduction and every dilation must be at least 1."
            raise SettingsError(msg)
        if self.topology not in TOPOLOGIES:
            msg = f"Adapter topology {self.topology!r} is unknown; choose one of {TOPOLOGIES}."
            raise SettingsError(msg)

    @classmethod
    def from_dict(cls, values: dict) -> AdapterSettings:
        """Rebuild settings from JSON types.

        Raises:
            SettingsError: If a field is unknown.
        """
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            msg = f"Adapter settings have unknown fields {unknown}; known are {[field.name for field in fields(cls)]}."
            raise SettingsError(msg)
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


class DDAdapter(nn.Module):
    """Bottleneck of depthwise dilated convolutions; the caller adds its output to its input.

    Input and output are (B, H, W, C), Hiera's channel-last layout.
    """

    def __init__(self, channels: int, settings: AdapterSettings) -> None:
        """Build the layers for a block of ``channels`` output channels."""
        super().__init__()
        inner = max(channels // settings.reduction, 1)
        self.is_parallel = settings.topology == "parallel"
        self.pw1 = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.GELU())
        branches = [_depthwise(inner, dilation) for dilation in settings.dilations]
        if self.is_parallel:
            self._branch_names = [f"dw2_{number}" for number in range(1, len(branches) + 1)]
            for name, branch in zip(self._branch_names, branches, strict=True):
                self.add_module(name, branch)
        else:
            self.blk = nn.ModuleList(branches)
        self.pw2 = nn.Sequential(nn.Conv2d(inner, channels, 1))
        if settings.output_activation:
            self.pw2.append(nn.GELU())
        if settings.zero_init:
            nn.init.zeros_(self.pw2[0].weight)
            nn.init.zeros_(self.pw2[0].bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the adapter's contribution, (B, H, W, C) as the input."""
        x = self.pw1(x.permute(0, 3, 1, 2))  # (B, C/reduction, H, W)
        if self.is_parallel:
            x = sum(getattr(self, name)(x) for name in self._branch_names)
        else:
            for branch in self.blk:
                x = x + branch(x)
        return self.pw2(x).permute(0, 2, 3, 1)


def _depthwise(channels: int, dilation: int) -> nn.Sequential:
    """Build one 3x3 depthwise branch that keeps the size."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, groups=channels), nn.GELU()
    )


def _add_adapter_output(block: nn.Module, _inputs: tuple, output: torch.Tensor) -> torch.Tensor:
    """Forward hook of an adapted block; not in place, since the block's output may be kept elsewhere."""
    return output + block.adapter(output)


def attach_adapters(model: nn.Module, settings: AdapterSettings) -> None:
    """Give the first blocks of the image encoder's trunk an adapter each, as sub-module ``adapter`` and forward hook.

    Nothing of sam2 is patched: the hook adds the adapter's output to the block's.

    Raises:
        SettingsError: If the trunk has fewer blocks than asked for, or has adapters already.
    """
    blocks = model.image_encoder.trunk.blocks
    if settings.num_blocks > len(blocks):
        msg = f"Adapters asked for {settings.num_blocks} blocks, but the trunk has {len(blocks)}."
        raise SettingsError(msg)
    if any(hasattr(block, "adapter") for block in blocks):
        msg = "The model has adapters already; detach them before attaching others."
        raise SettingsError(msg)
    for block in blocks[: settings.num_blocks]:
        block.adapter = DDAdapter(block.dim_out, settings)
        block.adapter_hook = block.register_forward_hook(_add_adapter_output)


def detach_adapters(model: nn.Module) -> None:
    """Remove all adapters, which leaves plain SAM 2."""
    for block in model.image_encoder.trunk.blocks:
        if hasattr(block, "adapter"):
            block.adapter_hook.remove()
            del block.adapter, block.adapter_hook
