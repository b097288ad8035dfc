"""Loss and gradients of clips given as masks, replayed as CUDA graphs (layer: training).

A clip is followed frame by frame, in thousands of small kernels; on a GPU, to launch them takes several times as long
as to run them. Steps that prompt with a mask are always the same kernels, so they are recorded once and replayed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from .prompts import Batch

NUM_RECORDINGS = 4
"""What is drawn on the CPU, such as the frames on which the previous mask is withheld, is fixed in each of them."""
WARM_UP = 2


class RecordedSteps:
    """Replays the forward and backward pass of one model and one shape of batches."""

    def __init__(self, parameters: list[torch.nn.Parameter], learn_from: Callable[[Batch], torch.Tensor]) -> None:
        """Record nothing yet.

        Args:
            parameters: Whose gradients are wanted.
            learn_from: Runs the model forwards and backwards and returns the loss; must not wait for the GPU.
        """
        self.parameters, self.learn_from = parameters, learn_from
        self.recordings: list[tuple[torch.cuda.CUDAGraph, torch.Tensor, list[torch.Tensor | None]]] = []
        self.batch: Batch | None = None
        self.count = 0

    def run(self, batch: Batch) -> torch.Tensor:
        """Put the gradients of a batch, which has the first one's shape, into the parameters; returns the loss."""
        if self.batch is None:
            self.batch = Batch(*(part.clone() for part in batch.tensors), batch.kind)
        for kept, new in zip(self.batch.tensors, batch.tensors, strict=True):
            kept.copy_(new)
        if len(self.recordings) < NUM_RECORDINGS:
            self.recordings.append(self._record())
        graph, loss, gradients = self.recordings[self.count % len(self.recordings)]
        self.count += 1
        graph.replay()
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        return loss

    def _record(self) -> tuple[torch.cuda.CUDAGraph, torch.Tensor, list[torch.Tensor | None]]:
        """Record the pass over the kept batch."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(0 if self.recordings else WARM_UP):
                self._forget()
                self.learn_from(self.batch)
        torch.cuda.current_stream().wait_stream(side)
        self._forget()
        graph = torch.cuda.CUDAGraph()
        pool = self.recordings[0][0].pool() if self.recordings else None
        with torch.cuda.graph(graph, pool=pool):
            loss = self.learn_from(self.batch)
        return graph, loss, [parameter.grad for parameter in self.parameters]

    def _forget(self) -> None:
        """Drop all gradients, so that a recording makes its own."""
        for parameter in self.parameters:
            parameter.grad = None
