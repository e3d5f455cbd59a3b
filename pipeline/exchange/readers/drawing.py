"""Annotations that somebody drew on an image, and the masks that they make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, UInt


class Part(NamedTuple):
    """Part of an image."""

    top: int
    left: int
    pixels: Bool[np.ndarray, "y x"]


class Shape(Protocol):
    """Area of an annotation."""

    def area(self) -> float:
        """In pixels, roughly: the order of drawing follows it."""

    def draw(self, size: tuple[int, int]) -> Part:
        """The covered pixels of an image of (height, width)."""


@dataclass(frozen=True)
class Annotation:
    """An outline or a painted area."""

    class_name: str
    shape: Shape
    layer: int = 0
    """Annotations of higher layers lie over all of lower ones, whatever their sizes."""


class DrawnMask(NamedTuple):
    """A mask, and what is odd about it."""

    mask: UInt[np.ndarray, "y x"]
    """Class values, or numbers of objects."""
    remarks: tuple[str, ...] = ()
    """Each a phrase that goes after an image's name."""


def draw_classes(annotations: Sequence[Annotation], size: tuple[int, int], values: Mapping[str, int]) -> DrawnMask:
    """The mask of class values; annotations of classes that `values` lacks are left out.

    Pixels that nobody drew on have the lowest value, the background's.
    Where annotations overlap, the smaller lies over the larger, so that none disappears under another; of equal ones
    the later lies on top. Layers, where a tool has them, come first.
    """
    numbers = [values.get(annotation.class_name) for annotation in annotations]
    unknown = Counter(one.class_name for one in annotations if one.class_name not in values)
    drawn = _draw(annotations, numbers, blank(size, values))
    left_out = [
        f"{n} annotations of the class {name!r} are left out; it is not declared" for name, n in unknown.items()
    ]
    return DrawnMask(drawn.mask, (*left_out, *drawn.remarks))


def draw_objects(annotations: Sequence[Annotation], size: tuple[int, int]) -> DrawnMask:
    """The mask of object numbers: annotation 0 is object 1; overlaps as in `draw_classes`."""
    numbers = range(1, len(annotations) + 1)
    return _draw(annotations, numbers, np.zeros(size, np.uint16 if len(annotations) < 2**16 else np.uint32))


def blank(size: tuple[int, int], values: Mapping[str, int]) -> UInt[np.ndarray, "y x"]:
    """A mask of the background, which is the lowest value: uint8, or uint16 where a value is above 255."""
    dtype = np.uint8 if max(values.values(), default=0) < 256 else np.uint16
    return np.full(size, min(values.values(), default=0), dtype)


def _draw(annotations: Sequence[Annotation], numbers: Sequence[int | None], mask: UInt[np.ndarray, "y x"]) -> DrawnMask:
    """Draw into a mask that is all background."""
    size = (mask.shape[0], mask.shape[1])
    background = mask.flat[0] if mask.size else 0
    order = sorted(range(len(annotations)), key=lambda i: (annotations[i].layer, -annotations[i].shape.area(), i))
    n_covered, n_empty = 0, 0
    for i in order:
        if (number := numbers[i]) is None:
            continue
        top, left, pixels = annotations[i].shape.draw(size)
        part = mask[top : top + pixels.shape[0], left : left + pixels.shape[1]]
        n_covered += int(((part != background) & (part != number) & pixels).sum())
        n_empty += not pixels.any()
        part[pixels] = number
    remarks = [f"{n_covered} pixels lie in different annotations; the smaller one is taken"] if n_covered else []
    remarks += [f"{n_empty} annotations hold no pixel of the image's {size[0]} x {size[1]}"] if n_empty else []
    return DrawnMask(mask, tuple(remarks))
