"""Result of an explanation: its maps, their table of words and their figure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from ..reports.plots import Plot
from ..runtime.results import Result
from .maps import ExplanationMaps
from .plots import draw_explanation


@dataclass(frozen=True, eq=False)
class Explanation(ExplanationMaps, Result):
    """Effects of the words of a text on an image's segmentation.

    A notebook shows the figure of `plot()`, and the table of words below it.
    """

    def to_dict(self) -> dict[str, Any]:
        """The figures, ready for JSON; the maps are arrays of the object alone."""
        versus = self.versus
        return {
            "text": self.text,
            "target": self.target,
            "mask_share": float(self.mask.mean()),
            "versus": None if versus is None else {"text": versus.text, "mask_share": float(versus.mask.mean())},
            "inside_is": "mask" if self.has_both_sides else "everything",
            "words": self.to_rows(),
            "attention_elsewhere": float(self.attention_elsewhere.mean()),
            "attention_names": list(self.attention_names),
        }

    def to_rows(self) -> list[dict[str, Any]]:
        """A row for each word, the largest change inside first: the fields of `WordEffect`, and `span` in the text."""
        return [asdict(one) | {"span": self.words[one.index].span} for one in self.ranked()]

    def lines(self) -> list[str]:
        """The share of the image that is marked, and the table of words with what its columns mean."""
        whole, versus = ["the mask is empty or full: all figures are of the whole image"], self.versus
        other = [f"with {versus.text!r}: {versus.mask.mean():.1%} of it is {self.target}"] if versus else []
        return [
            f"{self.mask.mean():.1%} of it is {self.target}",
            "",
            *self._table(),
            "",
            f"effect: log odds of {self.target} with the word less those without it, in nats: mean inside and",
            "outside the mask; size: mean of |effect| inside, which ranks words; ratio: that over the same outside",
            *([] if self.has_both_sides else whole),
            *other,
        ]

    def plot(self, truth: Bool[np.ndarray, "y x"] | None = None) -> Plot:
        """The image with its mask, and for each word its effect and its share of the attention.

        Args:
            truth: where the target is, at the size of the maps; `None`: not known.
        """
        return draw_explanation(self, truth)

    def _table(self) -> list[str]:
        rows = [("word", "inside", "outside", "size", "ratio", "attention")]
        for one in self.ranked():
            ratio = "" if one.ratio is None else f"{one.ratio:.2f}"
            effects = f"{one.effect_inside:+.3f}", f"{one.effect_outside:+.3f}", f"{one.change_inside:.3f}"
            rows.append((one.label, *effects, ratio, f"{one.attention:.1%}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]

    def _repr_html_(self) -> str:
        return self.plot().to_html(f"Effects of the words of: {self.text}") + super()._repr_html_()
