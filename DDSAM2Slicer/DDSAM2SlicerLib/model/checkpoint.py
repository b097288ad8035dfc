"""Model files in and out; nothing read here can run code (layer: model, the only file of it that touches the disk).

Read: our safetensors, whose header ``ddsam2`` holds JSON (specification, hash of the tensors, what the writer added);
SAM 2.0, SAM 2.1 and MedSAM2 ``.pt`` files ``{"model": tensors}``; DD-SAM2's flat files whose keys begin with
``model.``, adapters inferred from the keys. Written: safetensors only.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..core.errors import OutputError, WeightsError
from .adapter import AdapterSettings, attach_adapters, detach_adapters
from .architectures import ARCHITECTURES, ModelSpec, build_model
from .refiner import knowing_all_clues

HEADER_KEY = "ddsam2"
FORMAT_VERSION = 1
WRAPPERS = ("model", "state_dict")
PREFIXES = ("module.", "model.")
ADAPTER_PATTERN = re.compile(r"image_encoder\.trunk\.blocks\.(\d+)\.adapter\.(.+)")
FIRST_LAYER = "image_encoder.trunk.patch_embed.proj.weight"
NOT_IN_SAM_2_0 = ("no_obj_embed_spatial", "obj_ptr_tpos_proj.weight", "obj_ptr_tpos_proj.bias")
"""SAM 2.0 has no such parameters; zeros in their place do exactly what it does."""
USUAL_DILATIONS = (1, 3, 5, 7)
"""Dilations leave no trace in the weights; files that do not name them are taken to use the first of these."""

Tensors = dict[str, torch.Tensor]


def load_model(path: str | Path, device: str | torch.device = "cpu", image_size: int | None = None) -> torch.nn.Module:
    """Build the network that a file holds and load it.

    Args:
        path: Any of the formats above.
        device: Where the model shall be.
        image_size: Side of the network input; that of the file, or else the architecture's, if None.

    Raises:
        WeightsError: If the file is missing, damaged, altered, of an unknown architecture, or could run code.
    """
    path = Path(path)
    tensors, header = _read(path)
    if header is None:
        tensors = _strip_prefixes(tensors)
        spec = _infer_spec(tensors, path)
    elif "spec" in header:
        _check_hash(tensors, header, path)
        spec = ModelSpec.from_dict(header["spec"])
    else:
        msg = f"{path} holds adapters only. Choose the model they belong to, and this file as its adapters."
        raise WeightsError(msg)
    model = build_model(spec if image_size is None else spec.with_image_size(image_size))
    _load(model, tensors, path)
    return model.to(device)


def save_checkpoint(model: torch.nn.Module, path: str | Path, metadata: Mapping[str, Any], half: bool = False) -> None:
    """Write a whole model as safetensors; the file describes itself.

    Args:
        model: Built by ``build_model``.
        path: File to write; it appears complete or not at all.
        metadata: Anything JSON can hold, for example recipe, metrics and licence.
        half: Store numbers in 16 bits.

    Raises:
        OutputError: If the file cannot be written.
    """
    _write(model.state_dict(), path, {**metadata, "spec": model.ddsam2_spec.to_dict()}, half)


def save_adapters(model: torch.nn.Module, path: str | Path, metadata: Mapping[str, Any], half: bool = False) -> None:
    """Write the adapters only, about 1 % of the model.

    Raises:
        WeightsError: If the model has no adapters.
        OutputError: If the file cannot be written.
    """
    tensors = {key: value for key, value in model.state_dict().items() if ADAPTER_PATTERN.fullmatch(key)}
    if not tensors:
        msg = "The model has no adapters to save. Attach adapters before training."
        raise WeightsError(msg)
    _write(tensors, path, {**metadata, "adapters_of": model.ddsam2_spec.to_dict()}, half)


def load_adapters(model: torch.nn.Module, path: str | Path) -> None:
    """Put adapters from a file into a model of the same architecture, attaching them if it has none.

    Raises:
        WeightsError: If the file is missing or holds no adapters, or they do not fit; the model stays as it was.
    """
    path = Path(path)
    tensors, header = _read(path)
    if header is None or "adapters_of" not in header:
        msg = f"{path} holds no adapters. Give a file that was saved after fine-tuning, or open it as a model."
        raise WeightsError(msg)
    _check_hash(tensors, header, path)
    origin = ModelSpec.from_dict(header["adapters_of"])
    spec = model.ddsam2_spec
    if origin.name != spec.name or (spec.adapters is not None and not _same_shape(origin.adapters, spec.adapters)):
        msg = (
            f"The adapters in {path} belong to {origin.name} with {origin.adapters}; "
            f"this model is {spec.name} with {spec.adapters}."
        )
        raise WeightsError(msg)
    if spec.adapters is None:
        attach_adapters(model, origin.adapters)
        model.ddsam2_spec = replace(spec, adapters=origin.adapters)
        model.to(next(model.parameters()).device)
    others = {key: value for key, value in model.state_dict().items() if not ADAPTER_PATTERN.fullmatch(key)}
    try:
        _load(model, {**others, **tensors}, path)
    except WeightsError:
        if spec.adapters is None:
            detach_adapters(model)
            model.ddsam2_spec = spec
        raise


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return what a file of ours says about itself; empty for other files.

    Raises:
        WeightsError: If the file is missing or damaged.
    """
    path = Path(path)
    return (_open_safetensors(path)[1] or {}) if _is_safetensors(path) else {}


def _read(path: Path) -> tuple[Tensors, dict[str, Any] | None]:
    """Read tensors, and our header if there is one."""
    if _is_safetensors(path):
        return _open_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise WeightsError(_explain_pickle(path, str(error))) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise WeightsError(_explain_damage(path)) from error
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    is_table = isinstance(content, dict) and all(isinstance(one, torch.Tensor) for one in content.values())
    if not is_table or not content:
        msg = f"{path} holds no table of weights. Give a SAM 2, MedSAM2, DD-SAM2 or DDSAM2Slicer model file."
        raise WeightsError(msg)
    return dict(content), None


def _open_safetensors(path: Path) -> tuple[Tensors, dict[str, Any] | None]:
    """Read a safetensors file and our part of its header."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 -- not a dict
        header = json.loads(metadata[HEADER_KEY]) if HEADER_KEY in metadata else None
    except (OSError, SafetensorError, ValueError) as error:
        raise WeightsError(_explain_damage(path)) from error
    if header is not None and (not isinstance(header, dict) or header.get("format") != FORMAT_VERSION):
        msg = f"{path} was written in a format this version does not know. Update the extension."
        raise WeightsError(msg)
    return tensors, header


def _is_safetensors(path: Path) -> bool:
    """Whether a file begins like safetensors: header length in 8 bytes, then JSON."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}). Give the path of an existing model file."
        raise WeightsError(msg) from error
    return start[8:9] == b"{" or path.suffix == ".safetensors"


def _write(tensors: Tensors, path: str | Path, header: dict[str, Any], half: bool) -> None:
    """Write tensors and header; a partial file is never left under the final name."""
    path = Path(path)
    stored = {
        key: (value.half() if half and value.is_floating_point() else value).detach().cpu().contiguous().clone()
        for key, value in tensors.items()
    }
    header = {**header, "format": FORMAT_VERSION, "sha256": _hash(stored)}
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(stored, part, metadata={HEADER_KEY: json.dumps(header)})
        part.replace(path)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True) if part.parent.is_dir() else None
        msg = f"The model cannot be written to {path} ({error}). Choose another folder, or free disk space."
        raise OutputError(msg) from error


def _hash(tensors: Tensors) -> str:
    """SHA-256 over names, types, shapes and bytes of all tensors."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        value = tensors[key].contiguous()
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _check_hash(tensors: Tensors, header: Mapping[str, Any], path: Path) -> None:
    """Refuse a file whose tensors are not those it was saved with."""
    if header.get("sha256") != _hash(tensors):
        msg = f"{path} was altered after it was saved: its weights do not match its header. Get the file again."
        raise WeightsError(msg)


def _strip_prefixes(tensors: Tensors) -> Tensors:
    """Remove one leading ``module.`` and one leading ``model.`` that all keys share."""
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors


def _infer_spec(tensors: Tensors, path: Path) -> ModelSpec:
    """Recognise the architecture by width and depth of the trunk, and the adapters by their keys."""
    first = tensors.get(FIRST_LAYER)
    depth = len({key.split(".")[3] for key in tensors if key.startswith("image_encoder.trunk.blocks.")})
    width = 0 if first is None else first.shape[0]
    for spec in ARCHITECTURES.values():
        if (spec.embed_dim, sum(spec.stages)) == (width, depth):
            return replace(spec, mask_prior=False, refiner=False, adapters=_infer_adapters(tensors, path))
    msg = (
        f"{path} is no model this version knows (trunk of width {width} with {depth} blocks). "
        f"Known: {', '.join(ARCHITECTURES)}."
    )
    raise WeightsError(msg)


def _infer_adapters(tensors: Tensors, path: Path) -> AdapterSettings | None:
    """Read number, topology and reduction of adapters off the keys and shapes; None if there are none."""
    found: dict[int, set[str]] = {}
    for match in filter(None, map(ADAPTER_PATTERN.fullmatch, tensors)):
        found.setdefault(int(match[1]), set()).add(match[2])
    if not found:
        return None
    first = found.get(0, set())
    branches = {name.split(".0.")[0] for name in first if name.startswith(("dw2_", "blk."))}
    if "pw1.0.weight" not in first or not branches or sorted(found) != list(range(len(found))):
        msg = f"{path} has adapters of an unknown kind. Known are DD-SAM2's: pw1, dw2_* or blk.*, pw2."
        raise WeightsError(msg)
    inner, channels = tensors["image_encoder.trunk.blocks.0.adapter.pw1.0.weight"].shape[:2]
    return AdapterSettings(
        num_blocks=len(found),
        dilations=USUAL_DILATIONS[: len(branches)],
        topology="sequential" if any(name.startswith("blk.") for name in branches) else "parallel",
        reduction=channels // inner,
    )


def _same_shape(one: AdapterSettings | None, other: AdapterSettings) -> bool:
    """Whether two settings build the same modules; how they start does not matter."""
    return one is not None and replace(one, zero_init=False) == replace(other, zero_init=False)


def _load(model: torch.nn.Module, tensors: Tensors, path: Path) -> None:
    """Copy tensors into a model; every name and shape must fit."""
    own = model.state_dict()
    for key in NOT_IN_SAM_2_0:
        if key not in tensors:
            tensors = {**tensors, key: torch.zeros_like(own[key])}
    tensors = knowing_all_clues(tensors)
    missing, unknown = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    misfits = [key for key in own.keys() & tensors.keys() if own[key].shape != tensors[key].shape]
    problems = {"missing": missing, "unknown": unknown, "of another shape": sorted(misfits)}
    stated = [f"{len(keys)} {kind} ({keys[0]})" for kind, keys in problems.items() if keys]
    if stated:
        msg = f"{path} does not fit {model.ddsam2_spec.name}: weights {', '.join(stated)}. Give a complete model file."
        raise WeightsError(msg)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise WeightsError(_explain_damage(path)) from error


def _explain_pickle(path: Path, reason: str) -> str:
    """Say why the pickle reader stopped: forbidden content, or no pickle at all."""
    if "Unsupported" in reason or "GLOBAL" in reason:
        return f"{path} was refused: it holds more than numbers and could run code. Use a file from a source you trust."
    return _explain_damage(path)


def _explain_damage(path: Path) -> str:
    """Say that a file is incomplete or no model."""
    return f"{path} is damaged, incomplete or no model file. Download or copy it again."
