"""Texts that the text encoder does not read, in extraction, prediction and explanation."""

from dataclasses import replace

import pytest

from textdiff.errors import DataError
from textdiff.pipeline.data.warnings import SETTINGS_FILE
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.extraction.unread_texts import long_texts, unknown_tokens, unread_lines
from textdiff.stages.text.loading import load_text_encoder
from textdiff.stages.unet.recorder import UNetRecorder


@pytest.fixture(scope="module")
def encoder(tiny_encoder):
    return load_text_encoder(f"hf:{tiny_encoder}")


@pytest.fixture
def reports(extraction):
    """Gives `reports(one, other)`: an extraction of the tiny data with these texts in place of two of its own."""

    def write(one, other):
        content = extraction.data.read_text(encoding="utf-8")
        for old, new in (("the nuclei are not round", one), ("spindle nuclei in the upper half", other)):
            content = content.replace(old, new)
        extraction.data.write_text(content, encoding="utf-8")
        return extraction

    return write


@pytest.mark.parametrize(
    ("one", "other"), [("左肺に腫瘤", "右肺に腫瘤"), ("왼쪽 폐", "오른쪽 폐"), ("ก้อนซ้าย", "ก้อนขวา"), ("🫁", "🫀")]
)
def test_different_texts_that_encode_alike_are_refused_before_anything_is_extracted(reports, monkeypatch, one, other):
    monkeypatch.setattr(UNetRecorder, "record", None)
    with pytest.raises(DataError, match="makes the same tokens of different texts") as refused:
        extract_features(reports(one, other))
    (line,) = refused.value.problems
    assert {one, other} == {part.strip("'") for part in line.split(", ")}


def test_unknown_tokens_are_warned_of_by_name_with_their_share(reports, tiny_encoder, caplog):
    config = reports("the nuclei are 左", "upper half")
    extract_features(config)
    (line,) = [line for line in caplog.messages if "unknown-tokens" in line]
    assert line.startswith(f"2 of 6 texts have tokens that hf:{tiny_encoder} does not know, 10% of all tokens")
    assert "up to 25% of a text's" in line
    assert line.endswith(": train1, val0 [unknown-tokens]")


def test_the_warning_of_unknown_tokens_can_be_silenced(reports, caplog):
    config = reports("the nuclei are 左", "upper half")
    (config.data.parent / SETTINGS_FILE).write_text('{"silence": {"unknown-tokens": "one letter is a stain"}}')
    extract_features(config)
    assert [line for line in caplog.messages if "unknown-tokens" in line] == []


def test_texts_of_known_words_are_not_warned_of(extraction, caplog):
    extract_features(extraction)
    assert [line for line in caplog.messages if "tokens" in line] == []


def test_a_multilingual_encoder_is_one_flag(reports, tiny_multilingual, caplog):
    config = reports("左肺结节", "右肺结节")
    extract_features(replace(config, text_encoder=f"hf:{tiny_multilingual}", offline=True))
    assert [line for line in caplog.messages if "makes the same" in line] == []


def test_many_texts_that_are_alike_are_counted(encoder):
    from textdiff.pipeline.extraction.unread_texts import alike_texts

    assert list(alike_texts(encoder, ["左", "右", "上", "下", "中"])) == ["'左', '右', '上' and 2 more"]


def test_texts_that_are_alike_once_they_are_cut_are_refused_only_then(reports):
    config = reports("round " * 40 + "upper", "round " * 40 + "half")
    with pytest.raises(DataError, match="longer than the 32 tokens"):
        extract_features(config)
    with pytest.raises(DataError, match="makes the same tokens of different texts") as refused:
        extract_features(replace(config, truncate_texts=True))
    assert refused.value.problems[0].endswith("(cut to 32)")


def test_long_texts_are_named(encoder):
    (warning,) = long_texts(encoder, {"a": "round", "b": "round " * 40})
    assert str(warning).startswith("1 of 2 texts are up to 10 tokens over the limit of hf:")
    assert warning.ids == ("b",)
    assert list(long_texts(encoder, {})) == []
    assert list(unknown_tokens(encoder, {})) == []


def test_given_texts_are_named_with_their_unknown_tokens(encoder):
    unknown, _, alike = unread_lines(encoder, ["round", "左 round", "右 round"])
    assert unknown.startswith("'左 round': 1 of its 2 tokens are unknown to hf:")
    assert alike.endswith("makes the same tokens of '左 round', '右 round'")
