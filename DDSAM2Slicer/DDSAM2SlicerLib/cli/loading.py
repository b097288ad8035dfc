"""Load the model late: what can be refused is refused before, and torch is not imported for it (layer: cli)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..core.settings import EngineSettings

if TYPE_CHECKING:
    from ..engine.predictor import Predictor


class PredictorLoader:
    """Loads a predictor when called; can be sent to another process."""

    def __init__(self, model: str, device: str = "auto", adapters: str | Path = "") -> None:
        """Remember what to load."""
        self.model, self.device, self.adapters = model, device, adapters

    def __call__(self, threads: int = 0) -> Predictor:
        """Load it, to use that many threads (0: free choice).

        Raises:
            WeightsError: If model or adapters are unknown, missing, damaged or not safe to read, or do not fit.
            DeviceError: If the device is not there.
        """
        from ..engine.predictor import load_predictor

        return load_predictor(self.model, self.device, EngineSettings(threads=threads), adapters=self.adapters)
