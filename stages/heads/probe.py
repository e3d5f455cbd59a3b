"""The linear probe of a guided head: ridge regression on the filters, averaged with what the head says.

A few labelled images teach a network their stains as well as their nuclei; a linear model of a few dozen filters has
no room for that. Their mistakes differ, so that the mean of their probabilities is better than either: on MoNuSeg,
cross-validated, by 0.02 of Dice with 1 labelled image and by 0.01 with 4 (docs/results.md). With more images the
probe counts less.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from .ridge import ClassMoments, as_probabilities

PENALTY = 100.0
"""Of the squared weights, beside the squared errors of all pixels that it is fitted to."""
PIXELS_AT_ONCE = 4096
WORTH = 4.0
"""Number of labelled images at which the probe counts as much as the head."""


class LinearProbe(nn.Module):
    """Ridge regression of the classes on channels; its answer counts for nothing until it is fitted.

    Args:
        n_channels: of the input.
        n_classes: background included.
    """

    def __init__(self, n_channels: int, n_classes: int) -> None:
        super().__init__()
        self.weight: Tensor
        self.bias: Tensor
        self.share: Tensor
        self.register_buffer("weight", torch.zeros(n_classes, n_channels))
        self.register_buffer("bias", torch.zeros(n_classes))
        self.register_buffer("share", torch.zeros(()))

    def fit(self, features: Float[Tensor, "pixel channel"], labels: Int[Tensor, "pixel"], n_images: int) -> None:
        """Solve for the weights; each class counts as much as any other, however few its pixels.

        Args:
            features: of any range: each channel is standardised for it, so that the penalty treats all alike.
            labels: class indices.
            n_images: labelled images that the head learns from; sets the probe's share.
        """
        moments = ClassMoments(features.shape[1], len(self.bias))
        moments.add(features, labels)
        for own, solved in zip((self.weight, self.bias), moments.solve(PENALTY), strict=True):
            own.copy_(solved)
        self.share.fill_(WORTH / (WORTH + n_images))

    def forward(self, features: Float[Tensor, "*pixel channel"]) -> Float[Tensor, "*pixel n_classes"]:
        """Probabilities: the regression's answers, those below 0 at 0, divided by their sum."""
        # A few thousand at once: in float32 all channels of an image fit no cache of a processor.
        flat = features.flatten(0, -2)
        parts = [flat] if torch.compiler.is_compiling() else flat.split(PIXELS_AT_ONCE)
        answers = torch.cat([F.linear(part.float(), self.weight, self.bias) for part in parts])
        return as_probabilities(answers).unflatten(0, features.shape[:-1])

    def mixed(
        self, logits: Float[Tensor, "1 n_classes y x"], features: Float[Tensor, "y x channel"]
    ) -> Float[Tensor, "1 n_classes y x"]:
        """Logarithms of the head's probabilities and the probe's, averaged by the probe's share.

        Args:
            logits: of the head.
            features: as `fit` had them.
        """
        own = logits.softmax(1)
        return own.lerp(self(features).movedim(-1, 0)[None], self.share).log()
