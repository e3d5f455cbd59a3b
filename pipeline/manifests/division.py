"""Division of groups into train, val and test, where folders and tables do not say: seeded, spread over strata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...errors import DataError
from ..head_inputs.stratification import order_groups

SPLITS = ("train", "val", "test")


def divide_groups(
    strata: Mapping[str, Sequence[str]], labelled: set[str], shares: Sequence[float], seed: int
) -> dict[str, str]:
    """Group → its split. Groups without a mask train, since nothing can be scored on them.

    Args:
        strata: group → the strata of its samples.
        labelled: groups with a mask; if there are none, all are divided.
        shares: of the groups that are divided, for train, val and test, in all 1.
        seed: of the order in which groups are drawn (`order_groups`).

    Raises:
        DataError: There are fewer groups than splits with a share.
    """
    divided = {group: tuple(sorted({*strata[group]})) for group in strata if group in labelled or not labelled}
    wanted = [split for split, share in zip(SPLITS, shares, strict=True) if share > 0]
    if len(divided) < len(wanted):
        raise DataError(
            f"{len(divided)} group{'s' * (len(divided) != 1)} with masks cannot be divided into {', '.join(wanted)}: a "
            "group (patient) stays whole. Give --split 1,0,0, or --group-pattern if the groups are not the patients"
        )
    n_held = _counts(len(divided), shares)
    order = order_groups(divided, seed, cover=False)
    splits = dict.fromkeys(strata, "train")
    splits |= dict.fromkeys(order[: n_held["test"]], "test")
    return splits | dict.fromkeys(order[n_held["test"] : n_held["test"] + n_held["val"]], "val")


def _counts(n_groups: int, shares: Sequence[float]) -> dict[str, int]:
    """Groups of each split: the nearest numbers, at least one of each that has a share; the rest train."""
    counts = {
        split: max(1, round(share * n_groups)) if share else 0 for split, share in zip(SPLITS, shares, strict=True)
    }
    while counts["val"] + counts["test"] > n_groups - (shares[0] > 0):
        counts["test" if counts["test"] >= counts["val"] else "val"] -= 1
    if not shares[0]:
        counts["test" if counts["test"] else "val"] += n_groups - counts["val"] - counts["test"]
    return counts
