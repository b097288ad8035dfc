"""Load the model late: what can be refused is refused before, and torch is not imported for it (layer: cli)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.settings import EngineSettings

if TYPE_CHECKING:
    from ..engine.predictor import Predictor


@dataclass(frozen=True)
class PredictorLoader:
    """Loads a predictor when called; can be sent to another process."""

    model: str
    device: str
    adapters: str | Path
    settings: EngineSettings

    def __call__(self, threads: int = 0) -> Predictor:
        """Load it, to use that many threads (0: as the settings say).

        Raises:
            WeightsError: If model or adapters are unknown, missing, damaged or not safe to read, or do not fit.
            DeviceError: If the device is not there.
        """
        from ..engine.predictor import load_predictor

        settings = replace(self.settings, threads=threads or self.settings.threads)
        return load_predictor(self.model, self.device, settings, adapters=self.adapters)
