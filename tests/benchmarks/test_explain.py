"""`benchmarks/accuracy/explain.py`: purposes of words, worked by hand."""

import pytest


@pytest.fixture
def explain(benchmark_module):
    return benchmark_module("accuracy", "explain")


def test_every_word_has_the_purpose_that_its_report_gives_it(explain):
    words = ["Round", "cell", "stroma", "thin", "nuclei", "are", "malignant", "a", "spindle", "cell", "tumour", "plump"]
    assert explain.roles(words, "spindle") == [
        "other", "nothing", "says", "target shape", "nothing", "nothing", "says", "nothing", "target type", "nothing",
        "says", "other",
    ]  # fmt: skip
    swapped = explain.roles(words, "round")
    assert (swapped[0], swapped[3], swapped[8], swapped[11]) == ("target type", "other", "other", "target shape")


def test_words_that_the_phantom_uses_are_known(explain):
    from textdiff.pipeline.demo.sentences import KIND_WORDS, OTHER_WORDS, TARGET_WORDS

    assert {kind: set(words) for kind, words in KIND_WORDS.items()} == explain.KIND_WORDS
    assert {*TARGET_WORDS, *OTHER_WORDS} <= explain.TELLING
