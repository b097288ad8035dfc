"""Architectures as data: every SAM 2 size and our small one, built from sam2's own modules without Hydra.

Sources: Ravi et al. 2024 (SAM 2, arXiv 2408.00714), whose published configurations give the four ``hiera_*`` sizes;
    ``hiera_nano`` is our own small width of the same network. State-dict keys equal sam2's, so its checkpoints load
    unchanged.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from functools import partial

import torch
from sam2.modeling.backbones.hieradet import Hiera
from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler, MemoryEncoder
from sam2.modeling.position_encoding import PositionEmbeddingSine
from sam2.modeling.sam.transformer import RoPEAttention
from sam2.modeling.sam2_base import SAM2Base

from ..core.errors import WeightsError
from .adapter import AdapterSettings, attach_adapters
from .prior import MaskPrior
from .refiner import MaskRefiner

BACKBONE_STRIDE = 16
"""Input pixels per token of the image embedding."""


@dataclass(frozen=True)
class ModelSpec:
    """Everything needed to build one network; stored in our checkpoints, so a file describes itself."""

    name: str
    embed_dim: int
    num_heads: int
    stages: tuple[int, int, int, int]
    global_blocks: tuple[int, ...]
    window_pos_size: tuple[int, int] = (7, 7)
    window_spec: tuple[int, int, int, int] = (8, 4, 14, 7)
    image_size: int = 1024
    """Side of the square network input, in pixels."""
    d_model: int = 256
    memory_dim: int = 64
    memory_layers: int = 4
    memory_feedforward: int = 2048
    num_maskmem: int = 7
    """Memories a frame attends to: one conditioning frame and ``num_maskmem - 1`` recent ones."""
    multimask_for_tracking: bool = True
    multimask_min_points: int = 0
    dynamic_multimask: bool = True
    """Fall back to the best of three masks where the single mask is unstable, as sam2's predictor does by default."""
    binarize_prompted_memory: bool = True
    """Remember prompted frames as the binary mask that the user saw, as sam2's predictor does by default."""
    mask_prior: bool = False
    """Give the decoder the motion-compensated mask of the previous frame (see ``prior.py``)."""
    refiner: bool = False
    """Redraw the decoder's masks at the input's resolution (see ``refiner.py``); needs the mask prior."""
    adapters: AdapterSettings | None = None

    def with_image_size(self, image_size: int) -> ModelSpec:
        """Return the same network for another input side.

        Raises:
            WeightsError: If the side is not a positive multiple of 32 pixels.
        """
        if image_size < 32 or image_size % 32:
            msg = f"Network input of {image_size} px is not usable: the side must be a positive multiple of 32 px."
            raise WeightsError(msg)
        return replace(self, image_size=image_size)

    def to_dict(self) -> dict:
        """Return plain JSON types, nested adapters included."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> ModelSpec:
        """Rebuild a specification from ``to_dict``'s output.

        Raises:
            WeightsError: If a field is unknown or missing.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            msg = f"Model description has unknown fields {unknown}; known are {sorted(known)}. Update the extension."
            raise WeightsError(msg)
        plain = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        if plain.get("adapters") is not None:
            plain["adapters"] = AdapterSettings.from_dict(plain["adapters"])
        try:
            return cls(**plain)
        except TypeError as error:
            needed = "name, embed_dim, num_heads, stages and global_blocks"
            msg = f"Model description is incomplete ({error}); it needs {needed}."
            raise WeightsError(msg) from error


_SPECS = (
    ModelSpec("hiera_tiny", 96, 1, (1, 2, 7, 2), (5, 7, 9)),
    ModelSpec("hiera_small", 96, 1, (1, 2, 11, 2), (7, 10, 13)),
    ModelSpec("hiera_base_plus", 112, 2, (2, 3, 16, 3), (12, 16, 20), window_pos_size=(14, 14)),
    ModelSpec("hiera_large", 144, 2, (2, 6, 36, 4), (23, 33, 43), window_spec=(8, 4, 16, 8)),
    ModelSpec(
        "hiera_nano",
        32,
        1,
        (1, 2, 5, 1),
        (4, 6),
        window_spec=(8, 4, 8, 8),
        image_size=256,
        d_model=128,
        memory_dim=32,
        memory_layers=2,
        memory_feedforward=512,
        num_maskmem=5,
        multimask_for_tracking=False,
        multimask_min_points=1,
        dynamic_multimask=False,
        mask_prior=True,
        refiner=True,
        adapters=AdapterSettings(zero_init=True),
    ),
)
ARCHITECTURES: dict[str, ModelSpec] = {spec.name: spec for spec in _SPECS}


def build_model(spec: ModelSpec) -> SAM2Base:
    """Build a network with random weights, in evaluation mode, on the CPU, in fp32.

    The result is sam2's ``SAM2Base`` with three additions: ``ddsam2_spec`` (the specification), ``mask_prior`` and
    ``refiner`` (a module or None each).
    """
    model = SAM2Base(
        image_encoder=_build_image_encoder(spec),
        memory_attention=_build_memory_attention(spec),
        memory_encoder=_build_memory_encoder(spec),
        num_maskmem=spec.num_maskmem,
        image_size=spec.image_size,
        backbone_stride=BACKBONE_STRIDE,
        sigmoid_scale_for_mem_enc=20.0,
        sigmoid_bias_for_mem_enc=-10.0,
        binarize_mask_from_pts_for_mem_enc=spec.binarize_prompted_memory,
        use_mask_input_as_output_without_sam=True,
        directly_add_no_mem_embed=True,
        use_high_res_features_in_sam=True,
        multimask_output_in_sam=True,
        multimask_min_pt_num=spec.multimask_min_points,
        multimask_max_pt_num=1,
        multimask_output_for_tracking=spec.multimask_for_tracking,
        use_multimask_token_for_obj_ptr=True,
        iou_prediction_use_sigmoid=True,
        use_obj_ptrs_in_encoder=True,
        add_tpos_enc_to_obj_ptrs=True,
        proj_tpos_enc_in_obj_ptrs=True,
        use_signed_tpos_enc_to_obj_ptrs=True,
        only_obj_ptrs_in_the_past_for_eval=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        fixed_no_obj_ptr=True,
        use_mlp_for_obj_ptr_proj=True,
        no_obj_embed_spatial=True,
        sam_mask_decoder_extra_args={
            "dynamic_multimask_via_stability": spec.dynamic_multimask,
            "dynamic_multimask_stability_delta": 0.05,
            "dynamic_multimask_stability_thresh": 0.98,
        },
    )
    if spec.adapters is not None:
        attach_adapters(model, spec.adapters)
    model.mask_prior = MaskPrior() if spec.mask_prior else None
    model.refiner = MaskRefiner() if spec.refiner else None
    model.ddsam2_spec = spec
    return model.eval()


def _build_image_encoder(spec: ModelSpec) -> ImageEncoder:
    """Build the Hiera trunk and its feature pyramid; the coarsest level is fused, then dropped."""
    trunk = Hiera(
        embed_dim=spec.embed_dim,
        num_heads=spec.num_heads,
        stages=spec.stages,
        global_att_blocks=spec.global_blocks,
        window_pos_embed_bkg_spatial_size=spec.window_pos_size,
        window_spec=spec.window_spec,
    )
    neck = FpnNeck(
        position_encoding=PositionEmbeddingSine(num_pos_feats=spec.d_model),
        d_model=spec.d_model,
        backbone_channel_list=trunk.channel_list,
        fpn_top_down_levels=[2, 3],
        fpn_interp_model="nearest",
    )
    return ImageEncoder(trunk=trunk, neck=neck, scalp=1)


def _build_memory_attention(spec: ModelSpec) -> MemoryAttention:
    """Build the layers that let a frame look at the memories."""
    side = spec.image_size // BACKBONE_STRIDE
    attention = partial(
        RoPEAttention,
        rope_theta=10000.0,
        feat_sizes=(side, side),
        embedding_dim=spec.d_model,
        num_heads=1,
        downsample_rate=1,
        dropout=0.1,
    )
    layer = MemoryAttentionLayer(
        activation="relu",
        d_model=spec.d_model,
        dim_feedforward=spec.memory_feedforward,
        dropout=0.1,
        pos_enc_at_attn=False,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        self_attention=attention(),
        cross_attention=attention(rope_k_repeat=True, kv_in_dim=spec.memory_dim),
    )
    return MemoryAttention(d_model=spec.d_model, pos_enc_at_input=True, layer=layer, num_layers=spec.memory_layers)


def _build_memory_encoder(spec: ModelSpec) -> MemoryEncoder:
    """Build the network that fuses a frame with its mask into a memory."""
    return MemoryEncoder(
        in_dim=spec.d_model,
        out_dim=spec.memory_dim,
        position_encoding=PositionEmbeddingSine(num_pos_feats=spec.memory_dim),
        mask_downsampler=MaskDownSampler(embed_dim=spec.d_model, kernel_size=3, stride=2, padding=1),
        fuser=Fuser(CXBlock(dim=spec.d_model, kernel_size=7, padding=3, layer_scale_init_value=1e-6), num_layers=2),
    )


def count_parameters(module: torch.nn.Module) -> int:
    """Count the learned numbers of a module, without its buffers."""
    return sum(parameter.numel() for parameter in module.parameters())
