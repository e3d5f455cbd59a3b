"""Choice of the images to label next: uncertain ones that are unlike those chosen before."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Float64
from torch import Tensor


def standardised(features: Float[Tensor, "image feature"]) -> Float64[Tensor, "image feature"]:
    """Features with mean 0 and standard deviation 1 over the images; 0 where all images have the same."""
    centred = features.double() - features.double().mean(0)
    spread = centred.square().mean(0).sqrt()
    return torch.where(spread > 0, centred / spread, 0.0)


def choose_centres(
    candidates: Float64[Tensor, "candidate feature"],
    weights: Float64[Tensor, "candidate"],
    covered: Float64[Tensor, "covered feature"],
    n: int,
) -> tuple[list[int], list[float]]:
    """Take, one after another, the candidate of the highest weight × distance to the nearest that is covered or taken.

    This is the greedy heuristic for weighted k-centre (Dyer & Frieze 1985, Operations Research Letters 3, 285-288),
    whose aim is that nothing of much weight lies far from what was taken. With equal weights it is the core-set choice
    of Sener & Savarese 2018 (arXiv 1708.00489). Units do not matter: either factor may be scaled.

    Args:
        candidates: features of each.
        weights: of at least 0.
        covered: features of what need not be taken again; if empty, the candidate of most weight is the first.
        n: number to take; all of fewer candidates.

    Returns:
        Indices of the candidates in the order in which they were taken, and for each its distance then:
        root mean square over features, infinite for the first where nothing is covered.
    """
    nearest = torch.full_like(weights, math.inf)
    for one in covered:
        nearest = torch.minimum(nearest, _distances(candidates, one))
    taken: list[int] = []
    distances: list[float] = []
    for _ in range(min(n, len(candidates))):
        worth = weights * torch.where(nearest.isinf(), 1.0, nearest)
        worth[taken] = -1.0
        best = int(worth.argmax())
        taken.append(best)
        distances.append(float(nearest[best]))
        nearest = torch.minimum(nearest, _distances(candidates, candidates[best]))
    return taken, distances


def _distances(
    candidates: Float64[Tensor, "candidate feature"], one: Float64[Tensor, " feature"]
) -> Float64[Tensor, "candidate"]:
    return (candidates - one).square().mean(1).sqrt()
