"""The engine's settings as options of the command line, all made from their one schema (layer: cli)."""

from __future__ import annotations

import argparse
from dataclasses import fields

from ..core.settings import EngineSettings

KINDS = {"int": int, "float": float, "str": str}


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add an option for every setting."""
    group = parser.add_argument_group("settings of the engine")
    for one in fields(EngineSettings):
        flag, text = "--" + one.name.replace("_", "-"), one.metadata["text"]
        if one.type == "bool":
            shown = f"{text} (default: {'yes' if one.default else 'no'})"
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=one.default, help=shown)
            continue
        kind, choices = KINDS[one.type], one.metadata["choices"] or None
        metavar, shown = None if choices else one.type.upper(), f"{text} (default: %(default)s)"
        group.add_argument(flag, type=kind, choices=choices, default=one.default, metavar=metavar, help=shown)


def read_settings(options: argparse.Namespace) -> EngineSettings:
    """The settings that were chosen.

    Raises:
        SettingsError: If a number is out of bounds.
    """
    return EngineSettings(**{one.name: getattr(options, one.name) for one in fields(EngineSettings)})
