"""Effects of words where they are known: a head that adds up what words say, and an encoder that gives each a value."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from textdiff.errors import ConfigError, DataError
from textdiff.pipeline.data.classes import Classes, binary
from textdiff.pipeline.explanation.measure import ask, assemble, measure
from textdiff.stages.heads.base import Head, HeadSpec
from textdiff.stages.heads.ensemble import Ensemble
from textdiff.stages.heads.input import HeadInput
from textdiff.stages.text.encoder import TextEncoder
from textdiff.stages.text.words import split_words

VALUES = {"plump": 2.0, "thin": -1.0, "nuclei": 0.0, "not": -4.0}
TISSUE = torch.tensor([[1.0, 1.0, 0.0], [0.5, 0.0, -1.0]])
SPEC = HeadSpec(channels={0: 1}, n_classes=2, text_dim=2, width=1, n_attention_heads=1)
IMAGE = np.zeros((2, 3, 3), np.uint8)


class BagOfWords(TextEncoder):
    """A start token, then for each word its value, as many tokens as it has letters, and an end token."""

    def __init__(self):
        super().__init__(source="bag", digest="", dim=2, limit=100)

    def token_ids(self, texts):
        return [[0] * len(self.token_spans(text)) for text in texts]

    def token_spans(self, text):
        inner = [(i, i + 1) for word in split_words(text) for i in range(*word.span)]
        return [None, *inner, None]

    def encode_batch(self, texts):
        tokens = torch.zeros(len(texts), 40, 2)
        mask = torch.zeros(len(texts), 40, dtype=torch.bool)
        for row, text in enumerate(texts):
            values = [VALUES[w.text.lower()] / len(w.text) for w in split_words(text) for _ in w.text]
            tokens[row, 1 : 1 + len(values), 0] = torch.tensor(values)
            mask[row, : len(values) + 2] = True
        return tokens, mask


class AddingHead(Head):
    """Foreground's logit: the tissue times the sum of the words' values; attention is even over tokens."""

    attention_names = ("only",)

    def __init__(self, factor=1.0, spec=SPEC):
        super().__init__(spec)
        self.factor = factor

    def prepare(self, features):
        return {0: features[0][0]}

    def segment_prepared(self, prepared, x):
        said = x.tokens[x.token_mask].sum(0)[0] if x.token_mask.any() else torch.tensor(0.0)
        ours = self.factor * prepared[0][..., 0] * said
        return torch.stack([torch.zeros_like(ours), ours, *[ours - math.log(2)] * (self.spec.n_classes - 2)])[None]

    def attention_maps_prepared(self, prepared, x, words):
        shares = (x.token_mask / x.token_mask.sum()) @ words
        return shares[None, :, None, None].expand(1, -1, *x.size)


def explained(text, *, head=None, classes=None, **options):
    head = head or AddingHead()
    question = ask(BagOfWords(), text, (classes or binary(255)).names, "cpu", **options)
    x = HeadInput({0: [TISSUE[..., None]]}, (2, 3), torch.zeros(1, 2), torch.zeros(1, dtype=torch.bool))
    maps = measure(head, x, question)
    return assemble(question, head, maps, IMAGE)


def test_a_words_effect_is_what_it_adds_to_the_targets_log_odds():
    explanation = explained("Plump nuclei, thin.")
    for i, name in enumerate(("plump", "nuclei", "thin")):
        np.testing.assert_allclose(explanation.effects[i], VALUES[name] * TISSUE, atol=2e-3)
    np.testing.assert_allclose(explanation.probability, torch.sigmoid(TISSUE), atol=1e-3)
    np.testing.assert_array_equal(explanation.mask, TISSUE > 0)
    assert (explanation.effects.dtype, explanation.attention.dtype) == (np.float32, np.float32)


def test_words_are_ranked_by_how_much_they_change_inside_the_mask():
    figures = explained("Plump nuclei, thin.").ranked()
    assert [one.label for one in figures] == ["Plump", "thin", "nuclei"]
    plump, thin, nuclei = figures
    inside, outside = 2 * (1 + 1 + 0.5) / 3, 2 * (0 + 0 - 1) / 3
    assert plump.effect_inside == pytest.approx(inside, abs=2e-3)
    assert plump.effect_outside == pytest.approx(outside, abs=2e-3)
    assert thin.effect_inside == pytest.approx(-inside / 2, abs=2e-3)
    assert thin.change_inside == pytest.approx(inside / 2, abs=2e-3)
    assert [plump.ratio, thin.ratio] == pytest.approx([2.5, 2.5], abs=1e-2)
    assert nuclei.ratio is None


def test_attention_to_words_and_to_the_rest_adds_up_to_1_and_pieces_are_merged():
    explanation = explained("Plump nuclei, thin.")
    np.testing.assert_allclose(explanation.attention.sum(1) + explanation.attention_elsewhere, 1, atol=1e-6)
    np.testing.assert_allclose(explanation.attention[0, :, 0, 0] * 17, [5, 6, 4], atol=1e-5)
    assert explanation.attention_names == ("only",)


def test_a_word_that_occurs_twice_is_occluded_once_at_a_time_and_numbered():
    explanation = explained("Thin not thin")
    np.testing.assert_allclose(explanation.effects[0], -TISSUE, atol=2e-3)
    np.testing.assert_allclose(explanation.effects[2], -TISSUE, atol=2e-3)
    assert {one.label for one in explanation.ranked()} == {"Thin", "not", "thin (2)"}


def test_without_its_only_word_a_text_is_no_text():
    np.testing.assert_allclose(explained("plump.").effects[0], 2 * TISSUE, atol=2e-3)
    np.testing.assert_allclose(explained("plump").effects[0], 2 * TISSUE, atol=2e-3)


def test_another_text_gives_another_mask():
    explanation = explained("plump", versus="not plump")
    assert explanation.versus.text == "not plump"
    np.testing.assert_allclose(explanation.versus.probability, torch.sigmoid(-2 * TISSUE), atol=1e-3)
    np.testing.assert_array_equal(explanation.versus.mask, TISSUE < 0)
    assert explained("plump").versus is None


def test_effects_of_an_ensemble_are_the_mean_over_its_members():
    explanation = explained("plump thin", head=Ensemble([AddingHead(1.0), AddingHead(3.0)]))
    np.testing.assert_allclose(explanation.effects[0], 2 * 2 * TISSUE, atol=4e-3)
    mean = (torch.sigmoid(TISSUE) + torch.sigmoid(3 * TISSUE)) / 2
    np.testing.assert_allclose(explanation.probability, mean, atol=1e-3)
    assert explanation.attention_names == ("member 1", "member 2")


def test_of_many_classes_one_may_be_asked_about_or_all_but_the_background():
    three = Classes((0, 1, 2), ("background", "tumour", "stroma"), None)
    head = AddingHead(spec=replace(SPEC, n_classes=3))
    both = explained("plump", head=head, classes=three)
    assert both.target == "tumour or stroma"
    np.testing.assert_allclose(both.effects[0], 2 * TISSUE, atol=2e-3)  # the halves' sum has the logit plus a constant
    one = explained("plump", head=head, classes=three, target="stroma")
    shares = torch.softmax(torch.stack([torch.zeros(2, 3), 2 * TISSUE, 2 * TISSUE - math.log(2)]), 0)
    before = torch.softmax(torch.tensor([0.0, 0.0, -math.log(2)]), 0)
    expected = torch.logit(shares[2]) - torch.logit(before[2])
    np.testing.assert_allclose(one.effects[0], expected, atol=2e-3)
    assert not one.mask.any()
    assert not one.has_both_sides


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(DataError, match=r"'\?!' has no words to explain; give a text with letters or digits"):
        explained("?!")
    with pytest.raises(ConfigError, match="--target got 'tumor'; expected one of the run's classes: background, fore"):
        explained("plump", target="tumor")
