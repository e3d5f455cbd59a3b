"""Masks with values that are not declared, and masks that are odd."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ...image_files.paths import split_slice
from ..classes import CLASSES_FILE, Classes, undeclared
from ..inspection import Inspection, MaskFile
from ..warnings import DataWarning

MOST_SPREADS, LEAST_SPREAD, LEAST_MASKS = 4, 0.5, 5
"""A mask's share of foreground is odd at so many spreads (in logits, and at least so large) from the median; of so many
masks that are neither empty nor full."""
MANY_VALUES, SHARE_AT_ENDS = 8, 0.8
"""Of a mask: values that are too many for classes, and the least share of nearly black and white ones of soft edges."""
LOSSY = (".jpg", ".jpeg", ".webp", ".jp2", ".j2k")


def undeclared_values(inspection: Inspection, classes: Classes) -> Iterator[str]:
    """A line for a mask with values that no class has, and how such masks are to be declared."""
    path, mask = inspection.entry.mask, inspection.mask
    strange = classes.undeclared(mask.n_pixels) if mask else []
    if strange and path and mask:
        lossy = split_slice(path)[0].suffix.lower() in LOSSY
        hint = _hint(mask, strange, lossy=lossy) if classes.reading == "values" else ""
        yield f"{path} holds {undeclared(strange, classes)}{hint}"


def _hint(mask: MaskFile, strange: Sequence[int], *, lossy: bool) -> str:
    """Likely cause of many values: identities of instances, or soft edges."""
    values, total = sorted(mask.n_pixels), sum(mask.n_pixels.values())
    at_ends = sum(n for value, n in mask.n_pixels.items() if value < 64 or value >= 192)
    is_soft = len(strange) > 2 and strange[0] < 128 <= strange[-1] and at_ends > SHARE_AT_ENDS * total
    if values[-1] <= 255 and (lossy or is_soft):
        why = "JPEG invents values" if lossy else "soft edges?"
        return f'; {why}: say {{"masks": {{"threshold": 128}}}} in {CLASSES_FILE}, and all from 128 on is foreground'
    if len(values) >= MANY_VALUES and (values[-1] > 255 or values[-1] < 2 * len(values)):
        return f'; an instance mask? Say {{"masks": "instances"}} in {CLASSES_FILE}, and all above 0 is foreground'
    if values[0] < 0:
        return "; values below 0 cannot be named"
    if 1 < len(values) < MANY_VALUES and not {*values} <= {0, 1, 255}:
        return f"; classes? Say {_naming(values)} in {CLASSES_FILE}"
    return ""


def _naming(values: Sequence[int]) -> str:
    """The form that names these values, the last of three or more perhaps that of pixels without a label."""
    first, *others = values
    named = {str(first): "background"} | {str(value): f"class {i}" for i, value in enumerate(others, 1)}
    last = f' (with "ignore": {values[-1]} in place of its name, if it means not labelled)'
    return json.dumps({"classes": named}) + (last if len(others) > 1 else "")


def odd_masks(inspections: Sequence[Inspection], classes: Classes) -> Iterator[DataWarning]:
    """Warnings of masks that are empty, full or unlabelled, or unlike the others, and of classes that no mask has.

    Nothing is said of masks with values that are not declared, which are a problem, nor of absent classes beside them.
    """
    masks = {one.entry.id: one.mask for one in inspections if one.mask}
    yield from _white_is_zero(masks, classes)
    known = {name: mask for name, mask in masks.items() if not classes.undeclared(mask.n_pixels)}
    counts = {name: classes.count(mask.n_pixels) for name, mask in known.items()}
    labelled = {name: of for name, of in counts.items() if sum(of)}
    unlabelled = [name for name in counts if name not in labelled]
    empty = [name for name, of in labelled.items() if not sum(of[1:])]
    full = [name for name, of in labelled.items() if not of[0]]
    for warning, names, text in (
        ("unlabelled-mask", unlabelled, "have no labelled pixel"),
        ("empty-mask", empty, f"hold only {classes.names[0]}"),
        ("full-mask", full, f"have no pixel of {classes.names[0]}; do they show what they should?"),
    ):
        if names:
            yield DataWarning(warning, f"{len(names)} of {len(masks)} masks {text}", tuple(names))
    yield from _odd_shares({name: 1 - of[0] / sum(of) for name, of in labelled.items() if 0 < of[0] < sum(of)})
    has = [any(of) for of in zip(*counts.values(), strict=True)]
    absent = [name for name, there in zip(classes.names, has, strict=bool(has)) if not there]
    if absent and len(known) == len(masks):
        text = f"no mask has a pixel of {', '.join(absent)}; is {CLASSES_FILE} or the way the masks were saved right?"
        yield DataWarning("absent-class", text)


def _white_is_zero(masks: Mapping[str, MaskFile], classes: Classes) -> Iterator[DataWarning]:
    """A warning of masks that viewers show inverted against what is read: scanners mean it, `tifffile` does not."""
    white = [name for name, mask in masks.items() if mask.white_is_zero]
    if white and classes.reading not in ("colours", "alpha"):
        text = (
            f"{len(white)} of {len(masks)} masks say that 0 is shown white (TIFF's WhiteIsZero, DICOM's MONOCHROME1) "
            f"and are read by their numbers, 0 as {classes.names[0]}, so that viewers show them inverted; look at them "
            "(--out), and if they are right in a viewer and wrong there, save them as PNG"
        )
        yield DataWarning("white-is-zero", text, tuple(white))


def _odd_shares(shares: Mapping[str, float]) -> Iterator[DataWarning]:
    """A warning of masks whose share of foreground is far from the others': inverted, or of something else.

    Far is by the logits of shares, which treat foreground and background alike: `MOST_SPREADS` times the spread from
    their median. The spread is 1.4826 times the median absolute deviation, as large as a normal distribution's standard
    deviation, and of no use where most shares are equal: at least `LEAST_SPREAD`.
    """
    if len(shares) < LEAST_MASKS:
        return
    of = np.array(list(shares.values()))
    logits = np.log(of / (1 - of))
    apart = np.abs(logits - np.median(logits))
    far = apart > MOST_SPREADS * max(1.4826 * float(np.median(apart)), LEAST_SPREAD)
    odd = [name for name, is_far in zip(shares, far, strict=True) if is_far]
    if odd:
        named = ", ".join(f"{shares[name]:.1%}" for name in odd[:3]) + (", ..." if len(odd) > 3 else "")
        text = (
            f"{len(odd)} of {len(shares)} masks have a share of foreground ({named}) far from the others' (median "
            f"{np.median(of):.1%}); are they inverted, or of another kind?"
        )
        yield DataWarning("odd-share", text, tuple(odd))
