"""The phantom's reports: sentences that name both kinds of nuclei and say which one is the target.

A report is a `Wording` (a sentence with gaps) filled with words. Reports come in pairs that differ in nothing but
the target, and each wording's mirror image stands beside it, so neither a word nor the order of mention gives the
target away. The test split has sentences of its own, in which the kinds go by words that training reports use too.

Most sentences also name the type of the tumour ("spindle cell tumour"), as pathologists do, and some the type of the
tissue around it ("round cell stroma"): from a hundred sentences a head does not learn which of two adjectives a
predicate belongs to (docs/texts.md, "Negation"), but it does learn what stands beside "tumour". The first two wordings
go without.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np

from ..config.evaluation import SplitName

Item = TypeVar("Item")
NucleusKind = Literal["spindle", "round"]
Half = Literal["upper", "lower", "left", "right"]

SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
OTHER_KIND: dict[NucleusKind, NucleusKind] = {"spindle": "round", "round": "spindle"}
OPPOSITE: dict[Half, Half] = {"upper": "lower", "lower": "upper", "left": "right", "right": "left"}

KIND_WORDS: dict[NucleusKind, tuple[str, ...]] = {
    "spindle": ("spindle-shaped", "elongated", "slender", "cigar-shaped", "thin"),
    "round": ("round", "rounded", "plump", "oval", "vesicular"),
}
TARGET_WORDS = ("malignant", "neoplastic", "cancerous")
OTHER_WORDS = ("benign", "reactive", "normal")

PAIRS_PER_SIDE = 4
"""Every fourth pair of reports restricts its target to one half of the image."""

_REPORTS_STREAM = 1
"""Keeps the reports' random numbers apart from those of the images, which are seeded by (seed, split, index)."""


@dataclass(frozen=True)
class Wording:
    """A sentence with gaps.

    {target} and {other} take the kinds' adjectives, {cell} and {bystander} the tissue types that go with them
    ("spindle cell"), {yes} and {no} the adjectives of the target and of the other kind, {side} and {opposite} halves.
    """

    sentence: str
    test_only: bool = False

    @property
    def by_side(self) -> bool:
        """Whether the sentence restricts the target to one half of the image."""
        return "{side}" in self.sentence

    @property
    def target_first(self) -> bool:
        """Whether the target kind is named before the other one."""
        kinds_named = re.findall(r"\{(target|cell|other|bystander)\}", self.sentence)
        return kinds_named[0] in ("target", "cell")


WORDINGS = (
    Wording("{target} nuclei are {yes}, the {other} ones are not."),
    Wording("the {other} nuclei are not {yes}, the {target} ones are."),
    Wording("{target} nuclei are {yes}, a {cell} tumour; {other} nuclei are not."),
    Wording("{other} nuclei are not {yes}; {target} nuclei are, a {cell} tumour."),
    Wording("a {yes} {cell} tumour with {target} nuclei lies in {no} {bystander} tissue with {other} nuclei."),
    Wording("in {no} {bystander} tissue with {other} nuclei lies a {yes} {cell} tumour with {target} nuclei."),
    Wording("{yes} {target} nuclei of a {cell} lesion among {no} {other} nuclei."),
    Wording("{no} {other} nuclei among {yes} {target} nuclei of a {cell} lesion."),
    Wording("the {target} nuclei belong to a {yes} {cell} tumour, the {other} nuclei do not."),
    Wording("the {other} nuclei do not belong to the {yes} {cell} tumour, the {target} nuclei do."),
    Wording("{cell} tumour: {target} nuclei are {yes}; {bystander} stroma: {other} nuclei are {no}."),
    Wording("{bystander} stroma: {other} nuclei are {no}; {cell} tumour: {target} nuclei are {yes}."),
    Wording("{cell} tumour in the {side} half: {target} nuclei there are {yes}, {other} nuclei are {no}."),
    Wording("{other} nuclei are {no}, {target} nuclei in the {side} half are {yes}, a {cell} tumour."),
    Wording(
        "{cell} tumour in the {side} half: {yes} {target} nuclei; the {opposite} half and all {other} nuclei are {no}."
    ),
    Wording("{no} {other} nuclei; {yes} {target} nuclei of a {cell} lesion in the {side} half only."),
    Wording("a {cell} tumour: only {target} nuclei are {yes}, whereas {other} nuclei are not.", test_only=True),
    Wording("{other} nuclei are not {yes}, whereas {target} nuclei are: a {cell} tumour.", test_only=True),
    Wording("{target} nuclei form a {yes} {cell} lesion, unlike the {no} {other} nuclei.", test_only=True),
    Wording("unlike the {no} {other} nuclei, {target} nuclei form a {yes} {cell} lesion.", test_only=True),
    Wording(
        "{cell} tumour with {target} nuclei, surrounded by {no} {bystander} stroma with {other} nuclei.", test_only=True
    ),
    Wording(
        "{no} {bystander} stroma with {other} nuclei surrounds a {cell} tumour with {target} nuclei.", test_only=True
    ),
    Wording("{side} half: {cell} tumour, {target} nuclei are {yes}; {other} nuclei are {no}.", test_only=True),
    Wording("{other} nuclei are {no}; {side} half: {target} nuclei are {yes}, {cell} tumour.", test_only=True),
)


@dataclass(frozen=True)
class Report:
    """One sample's report and its meaning: the mask is `target`'s pixels, within the half `side` unless `None`."""

    wording: Wording
    target: NucleusKind
    side: Half | None
    kind_words: dict[NucleusKind, str]
    target_word: str
    other_word: str

    @property
    def text(self) -> str:
        """The sentence, which begins with a capital."""
        sentence = self.wording.sentence.format(
            target=self.kind_words[self.target],
            other=self.kind_words[OTHER_KIND[self.target]],
            cell=f"{self.target} cell",
            bystander=f"{OTHER_KIND[self.target]} cell",
            yes=self.target_word,
            no=self.other_word,
            side=self.side,
            opposite=OPPOSITE[self.side] if self.side else None,
        )
        return sentence[0].upper() + sentence[1:]

    def counterfactual(self) -> Report:
        """The same sentence, words and side with the other kind as the target."""
        return replace(self, target=OTHER_KIND[self.target])


def wordings(split: SplitName) -> tuple[Wording, ...]:
    """The sentences of a split: "train" and "val" share theirs, "test" has others."""
    return tuple(wording for wording in WORDINGS if wording.test_only == (split == "test"))


def write_reports(split: SplitName, n: int, seed: int) -> list[Report]:
    """`n` reports whose targets alternate; each pair of neighbours differs in the target alone.

    Args:
        split: whose wordings to use.
        n: the number of reports; the first k are the same for every n >= k.
        seed: one list of reports a seed and split.

    Returns:
        Reports of which every fourth pair is by side; wordings and sides recur equally often.
    """
    rng = np.random.default_rng([seed, SPLITS.index(split), 0, _REPORTS_STREAM])
    anywhere = _in_both_orders(rng, [wording for wording in wordings(split) if not wording.by_side], "target")
    by_side = _in_both_orders(rng, [wording for wording in wordings(split) if wording.by_side], "other")
    sides = _shuffled_forever(rng, list(OPPOSITE))
    reports: list[Report] = []
    for pair in range((n + 1) // 2):
        names_side = pair % PAIRS_PER_SIDE == PAIRS_PER_SIDE - 1
        report = _fill(rng, next(by_side if names_side else anywhere), next(sides) if names_side else None)
        reports += [report, report.counterfactual()]
    return reports[:n]


def _fill(rng: np.random.Generator, wording: Wording, side: Half | None) -> Report:
    spindle, round_, target, other = (
        str(rng.choice(words)) for words in (KIND_WORDS["spindle"], KIND_WORDS["round"], TARGET_WORDS, OTHER_WORDS)
    )
    return Report(wording, "spindle", side, {"spindle": spindle, "round": round_}, target, other)


def _in_both_orders(
    rng: np.random.Generator, some: Sequence[Wording], first: Literal["target", "other"]
) -> Iterator[Wording]:
    """Wordings that name the target first and wordings that name it second, in turn; `first` says how to begin."""
    target_first = _shuffled_forever(rng, [wording for wording in some if wording.target_first])
    other_first = _shuffled_forever(rng, [wording for wording in some if not wording.target_first])
    while True:
        yield next(target_first if first == "target" else other_first)
        yield next(other_first if first == "target" else target_first)


def _shuffled_forever(rng: np.random.Generator, items: Sequence[Item]) -> Iterator[Item]:
    """All items in random order, then all of them in another order, and so on."""
    while True:
        for index in rng.permutation(len(items)):
            yield items[index]
