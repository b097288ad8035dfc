"""The engine's front door: a model on a device, ready to open stacks (layer: engine)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ..core.frames import FrameSource
from ..core.settings import EngineSettings
from ..model.checkpoint import load_adapters, load_model
from ..weights.store import Store
from .device import pick_device
from .network import Network
from .session import Session


class Predictor:
    """A model ready to run; make one per model and open any number of stacks with it.

    Example::

        predictor = load_predictor("nano")
        session = predictor.open(frames)
        session.set_prompts(PromptSet.empty().with_box(1, 10, Box(40, 52, 80, 90)))
        for result in session.propagate():
            ...
    """

    def __init__(
        self, model: torch.nn.Module, settings: EngineSettings | None = None, device: str | torch.device = "auto"
    ) -> None:
        """Prepare the model.

        Raises:
            DeviceError: If the device is not there or has not enough memory.
        """
        self.settings = settings or EngineSettings()
        self.device = pick_device(str(device))
        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        self._network = Network(model, self.settings, self.device)

    def open(self, frames: FrameSource) -> Session:
        """Begin to segment a stack."""
        return Session(self._network, frames, self.settings)


def load_predictor(
    name_or_path: str | Path,
    device: str = "auto",
    settings: EngineSettings | None = None,
    store: Store | None = None,
    adapters: str | Path = "",
) -> Predictor:
    """Load a model by its name in the model list or by its file, with the adapters of another file if given.

    Adapters act in the network: unless the settings say otherwise its memory then helps to follow masks everywhere.

    Raises:
        WeightsError: If the model is unknown, not downloaded, damaged or not safe to read, or the adapters do not fit.
        DeviceError: If the device is not there.
    """
    chosen = pick_device(device)
    store = store or Store()
    entry = store.catalog.get(str(name_or_path))
    # plain SAM 2 files do not say for which input they were trained; the model list does
    size = entry.input_size if entry is not None and not entry.is_shipped else None
    model = load_model(store.resolve(name_or_path), image_size=size)
    settings = settings or EngineSettings()
    if adapters:
        load_adapters(model, adapters)
        if settings.memory_use == "auto":
            settings = replace(settings, memory_use="always")
    return Predictor(model, settings, chosen)
