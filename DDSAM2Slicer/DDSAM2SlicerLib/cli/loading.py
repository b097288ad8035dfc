"""Load the model late: what can be refused is refused before, and torch is not imported for it (layer: cli)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.settings import EngineSettings

if TYPE_CHECKING:
    from ..engine.predictor import Predictor


class PredictorLoader:
    """Loads a predictor when called; can be sent to another process."""

    def __init__(self, model: str, device: str = "auto") -> None:
        """Remember what to load."""
        self.model, self.device = model, device

    def __call__(self, threads: int = 0) -> Predictor:
        """Load it, to use that many threads (0: free choice).

        Raises:
            WeightsError: If the model is unknown, missing, damaged or not safe to read.
            DeviceError: If the device is not there.
        """
        from ..engine.predictor import load_predictor

        return load_predictor(self.model, self.device, EngineSettings(threads=threads))
