"""On a GPU, recorded training steps give the gradients that the steps themselves give."""

from __future__ import annotations

import pytest
import torch

from DDSAM2SlicerLib.model.prior import MaskPrior
from DDSAM2SlicerLib.model.refiner import MaskRefiner
from DDSAM2SlicerLib.training.graphs import RecordedSteps
from DDSAM2SlicerLib.training.objective import LossWeights
from DDSAM2SlicerLib.training.prompts import Batch
from DDSAM2SlicerLib.training.refining import refiner_loss


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_replay_learns_from_the_batch_it_is_given(monkeypatch):
    """Not from the one that was recorded."""
    monkeypatch.setattr("DDSAM2SlicerLib.training.refining.HINTLESS", 0.0)  # is fixed when recorded
    torch.manual_seed(0)
    refiner, prior = MaskRefiner().cuda(), MaskPrior().cuda()
    torch.nn.init.normal_(refiner.out.weight, std=0.01)
    parameters = list(refiner.parameters())

    def learn_from(batch: Batch) -> torch.Tensor:
        loss = refiner_loss(refiner, prior, batch, LossWeights(), torch.Generator())
        loss.backward()
        return loss.detach()

    recorded = RecordedSteps(parameters, learn_from)
    for _ in range(6):
        frames = torch.randint(0, 256, (2, 3, 128, 128), dtype=torch.uint8, device="cuda")
        batch = Batch(frames, frames > 128, torch.zeros(2, 1, 1, 1, device="cuda"), "mask")
        refiner.zero_grad(set_to_none=True)
        loss = learn_from(batch)
        wanted = [parameter.grad.clone() for parameter in parameters]
        assert torch.allclose(recorded.run(batch), loss, rtol=1e-3)
        found = torch.cat([parameter.grad.flatten() for parameter in parameters])
        assert torch.cosine_similarity(found, torch.cat([one.flatten() for one in wanted]), dim=0) > 0.999
