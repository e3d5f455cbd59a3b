"""Panoptic quality and its factors, from sums over matched objects, which add up over images."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def panoptic_quality(matches: Float[Tensor, "*sample 3"]) -> Float[Tensor, "*sample"]:
    """Panoptic quality PQ = DQ · SQ, in [0, 1] (Kirillov et al. 2019, arXiv 1801.00868, equation 1).

    Args:
        matches: of `match_objects`; nan where there are no objects in either.
    """
    total_iou, _, n_objects = matches.unbind(-1)
    return 2 * total_iou / n_objects


def segmentation_quality(matches: Float[Tensor, "*sample 3"]) -> Float[Tensor, "*sample"]:
    """Segmentation quality SQ: mean IoU of the matched pairs, in (0.5, 1].

    Args:
        matches: of `match_objects`; nan where no objects match.
    """
    total_iou, n_pairs, _ = matches.unbind(-1)
    return total_iou / n_pairs


def detection_quality(matches: Float[Tensor, "*sample 3"]) -> Float[Tensor, "*sample"]:
    """F1 of the objects at IoU 0.5, in [0, 1].

    Panoptic papers call it recognition quality (RQ), papers on nuclei detection quality (DQ; Graham et al. 2019,
    arXiv 1812.06499).

    Args:
        matches: of `match_objects`; nan where there are no objects in either.
    """
    _, n_pairs, n_objects = matches.unbind(-1)
    return 2 * n_pairs / n_objects
