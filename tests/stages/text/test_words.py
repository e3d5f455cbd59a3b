"""Words of a text, texts without them, and whose tokens are whose."""

import pytest

from textdiff.errors import DataError
from textdiff.stages.text.words import (
    original_span,
    spans_before_cleaning,
    split_words,
    without,
    words_of_tokens,
)


def test_words_are_letters_and_digits_with_what_joins_them_inside():
    text = "Spindle-shaped nuclei (CD3+): 0.5 of the patient's, i.e. not_all."
    assert [word.text for word in split_words(text)] == [
        "Spindle-shaped", "nuclei", "CD3", "0.5", "of", "the", "patient's", "i", "e", "not", "all",
    ]  # fmt: skip
    assert all(text[slice(*word.span)] == word.text for word in split_words(text))


@pytest.mark.parametrize(
    ("word", "left"),
    [
        ("Round", "cell tumour: thin nuclei, not round."),
        ("tumour", "Round cell: thin nuclei, not round."),
        ("nuclei", "Round cell tumour: thin, not round."),
        ("round", "Round cell tumour: thin nuclei, not."),
    ],
)
def test_a_word_goes_with_its_space_and_punctuation_stays(word, left):
    text = "Round cell tumour: thin nuclei, not round."
    (found,) = (one for one in split_words(text) if one.text == word)
    assert without(text, found) == left


@pytest.mark.parametrize(
    ("text", "word", "left"),
    [
        ("thin, oval, round", "oval", "thin, round"),
        ("thin, oval. Round", "oval", "thin. Round"),
        ("nuclei (CD3+) thin", "CD3", "nuclei (+) thin"),
        ("nuclei (thin) of", "thin", "nuclei of"),
        ("thin, oval", "oval", "thin,"),
    ],
)
def test_no_punctuation_is_left_that_parts_nothing(text, word, left):
    (found,) = (one for one in split_words(text) if one.text == word)
    assert without(text, found) == left


def test_nothing_is_left_of_a_text_of_one_word():
    assert without("Round.", split_words("Round.")[0]) == ""
    assert without("  Left: round", split_words("  Left: round")[0]) == "round"


def test_a_token_belongs_to_the_word_that_it_shares_most_with():
    words = split_words("a tumour/stroma.")
    spans = [None, (0, 1), (1, 4), (4, 10), (7, 11), (15, 16), (3, 3)]
    assert words_of_tokens(words, spans) == [None, 0, 1, 1, 2, None, None]


def test_characters_are_traced_through_case_and_spaces_and_chunks_that_change_length():
    text = "Two  nuclei\nARE…"
    origins = spans_before_cleaning(text, lambda chunk: " ".join(chunk.lower().replace("…", "...").split()))
    assert len(origins) == len("two nuclei are...")
    assert original_span(origins, (4, 10)) == (5, 11)
    assert original_span(origins, (11, 14)) == (12, 16)
    assert original_span(origins, (4, 4)) == (0, 0)


def test_cleaning_that_joins_words_is_refused():
    with pytest.raises(DataError, match="'a b': the text encoder's tokenizer rewrites this text"):
        spans_before_cleaning("a b", lambda text: text.replace(" ", ""))
