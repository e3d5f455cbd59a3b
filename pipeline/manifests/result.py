"""Summary of `make-manifest`: the samples, by which rules they were made, and every file and row without a partner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..runtime.results import Result
from .samples import ManifestSample

NAMED = 3
"""Names in a line of the summary; `--json` has all."""


@dataclass
class Unmatched:
    """Files without a partner, each by name."""

    images_without_mask: list[str] = field(default_factory=list)
    masks_without_image: list[str] = field(default_factory=list)
    images_without_text: list[str] = field(default_factory=list)
    """Empty where no table of texts was read."""
    texts_without_image: list[str] = field(default_factory=list)
    files_not_used: list[str] = field(default_factory=list)
    """Each with the reason."""


@dataclass(frozen=True)
class ManifestSummary(Result):
    """Result of `make-manifest`: the manifest, and the files behind it."""

    out: Path
    layout: str
    rule: str
    rows: Sequence[ManifestSample]
    group_rule: str
    split_rule: str
    drawn: Sequence[str]
    """Lines on masks that were drawn."""
    tables: Sequence[str]
    """Lines on tables that were read."""
    loose: Mapping[str, Mapping[str, int]]
    """masks, texts → looseness → pairs that were matched by it."""
    unmatched: Unmatched
    hints: Sequence[str]
    """Lines on what may be wrong."""

    def to_dict(self) -> dict[str, Any]:
        """The summary for programs, ready for JSON."""
        return {
            "manifest": str(self.out),
            "layout": self.layout,
            "rule": self.rule,
            **self._counts(),
            "group_rule": self.group_rule,
            "split_rule": self.split_rule,
            "drawn": list(self.drawn),
            "tables": list(self.tables),
            "loose": {kind: dict(counts) for kind, counts in self.loose.items()},
            "unmatched": asdict(self.unmatched),
            "hints": list(self.hints),
        }

    def _counts(self) -> dict[str, Any]:
        splits = Counter(row.split for row in self.rows)
        strata = Counter(row.stratum for row in self.rows if row.stratum)
        return {
            "n": len(self.rows),
            "splits": {split: splits[split] for split in ("train", "val", "test") if splits[split]},
            "groups": len({row.group for row in self.rows}),
            "strata": dict(sorted(strata.items())),
            "masks": sum(row.mask is not None for row in self.rows),
            "texts": sum(bool(row.text) for row in self.rows),
        }

    def to_rows(self) -> list[dict[str, Any]]:
        """A row for each sample: the manifest's columns."""
        return [{name: value for name, value in asdict(one).items() if name != "file"} for one in self.rows]

    def lines(self) -> list[str]:
        """The summary for people."""
        return [*self._facts(), *self._partnerless(), *self.hints, f"next: textdiff check-data {self.out}"]

    def _facts(self) -> Iterator[str]:
        counts = self._counts()
        splits = ", ".join(f"{n} {split}" for split, n in counts["splits"].items())
        yield f"{self.out}: {counts['n']} samples ({splits}) in {counts['groups']} groups"
        yield f"layout: {self.layout}: {self.rule}"
        yield f"groups: {self.group_rule}; splits: {self.split_rule}"
        if counts["strata"]:
            yield "strata: " + ", ".join(f"{name} {n}" for name, n in counts["strata"].items())
        for kind in ("masks", "texts"):
            loose = "".join(f"; {n} matched though: {name}" for name, n in self.loose[kind].items())
            yield f"{kind}: {counts[kind]} of {counts['n']}{loose}"
        yield from (f"table: {line}" for line in self.tables)
        yield from (f"drawn: {line}" for line in self.drawn)

    def _partnerless(self) -> Iterator[str]:
        for kind, names in asdict(self.unmatched).items():
            if names:
                more = f" and {len(names) - NAMED} more (--json names all)" if len(names) > NAMED else ""
                yield f"{kind.replace('_', ' ')}: {len(names)}: {', '.join(names[:NAMED])}{more}"
