"""Settings of the engine: frozen, validated on construction, the only schema for every interface (layer: core).

Scene, command line and files translate to and from these classes; bounds, choices and help live in the fields.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from .errors import SettingsError, suggest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

_ACCEPTED_TYPES = {"bool": (bool,), "int": (int,), "float": (int, float), "str": (str,)}


def option(
    default: Any, text: str, *, low: float | None = None, high: float | None = None, choices: tuple[str, ...] = ()
) -> Any:
    """Declare one field of a settings class with its help text and its inclusive bounds or choices."""
    return field(default=default, metadata={"text": text, "low": low, "high": high, "choices": choices})


@dataclass(frozen=True)
class Settings:
    """Base of all settings: checks every field, converts to and from a dictionary."""

    def __post_init__(self) -> None:
        """Check each field against its declaration; integers given for real numbers are converted."""
        for declared in fields(self):
            value = getattr(self, declared.name)
            _check_value(declared.name, value, declared.type, declared.metadata)
            if declared.type == "float":
                object.__setattr__(self, declared.name, float(value))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from names and values; what is missing keeps its default.

        Raises:
            SettingsError: If a name is unknown (near matches are offered) or a value is not accepted.
        """
        known = {declared.name for declared in fields(cls)}
        for name in values:
            if name not in known:
                msg = f"Unknown setting {name!r}. {suggest(str(name), known)}"
                raise SettingsError(msg)
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return all names and values; ``from_dict`` gives an equal object back."""
        return asdict(self)


@dataclass(frozen=True)
class EngineSettings(Settings):
    """How a stack is propagated."""

    zoom: bool = option(True, "Show the network a square crop around the object instead of the whole frame.")
    zoom_margin: float = option(0.5, "Side of the object divided by the side of the crop.", low=0.05, high=1.0)
    min_crop_px: int = option(16, "Smallest side of the crop, in pixels of the frame.", low=8)
    memory_rule: str = option(
        "recent",
        "Which earlier frames condition the next one.",
        choices=("recent", "short", "pruned", "split_pruned", "diverse", "confident"),
    )
    stop_after_empty: int = option(
        3, "Slices without the object after which it has ended; 0 never ends it. In time it may come back.", low=0
    )
    mask_prior: bool = option(True, "Use the model's motion-compensated previous mask, if it has one.")
    memory_use: str = option(
        "auto",
        "Whether the network and its memory have a part in the answers to prompts and in following masks (always), or "
        "motion and refiner do it alone (never), if the model has both; auto: alone, as the default model does it as "
        "well and faster, but always with adapters of your own, which act in the network.",
        choices=("auto", "always", "never"),
    )
    min_certainty: float = option(
        0.74,
        "Hide masks of late less sure than this share of their first, if the model can refine; they are followed on.",
        low=0.0,
        high=1.0,
    )
    non_overlap: bool = option(False, "Give each pixel to one object only, the one with the higher logit.")
    fill_holes_px: int = option(0, "Fill holes of at most this many pixels; 0 leaves all holes.", low=0)
    keep_largest: bool = option(False, "Keep only the largest connected part of each mask.")
    precision: str = option("auto", "Numbers used for computing.", choices=("auto", "fp32", "bf16"))
    threads: int = option(0, "CPU threads; 0 leaves the choice to the machine.", low=0)


def _check_value(name: str, value: Any, kind: str, rules: Mapping[str, Any]) -> None:
    """Raise SettingsError unless the value has the declared type and lies within bounds or choices."""
    is_bool = isinstance(value, bool)
    if not isinstance(value, _ACCEPTED_TYPES[kind]) or (is_bool and kind != "bool"):
        msg = f"Setting {name!r} is {value!r}; it must be of type {kind}."
        raise SettingsError(msg)
    if rules["choices"] and value not in rules["choices"]:
        msg = f"Setting {name!r} is {value!r}. {suggest(value, rules['choices'])}"
        raise SettingsError(msg)
    low, high = rules["low"], rules["high"]
    is_outside = (low is not None and value < low) or (high is not None and value > high)
    if kind in ("int", "float") and (is_outside or not math.isfinite(value)):
        bounds = f"at least {low}" if high is None else f"from {low} to {high}"
        msg = f"Setting {name!r} is {value}; it must be {bounds}."
        raise SettingsError(msg)
