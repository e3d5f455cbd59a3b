"""What annotations of settings allow, and that all that they do not is refused at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest

from textdiff.errors import ConfigError
from textdiff.pipeline.config import CheckConfig, CompareConfig, EvaluateConfig, ExtractConfig, TrainConfig
from textdiff.pipeline.config.validation import (
    CommandConfig,
    Count,
    Distinct,
    SomeText,
    between,
    multiple_of,
    problems_of,
)  # fmt: skip


@dataclass(frozen=True)
class Example(CommandConfig):
    n_draws: Count = 1
    share: Annotated[float, between(0.0, 1.0)] | None = None
    at: Literal["model", "native"] = "model"
    subsets: tuple[Distinct, ...] | None = None
    widths: tuple[Annotated[int, multiple_of(8, "the groups")], ...] = (8,)
    text: SomeText | None = None

    def contradictions(self):
        if self.n_draws > 1 and self.at == "native":
            yield "both"


GIVEN = {
    "below": ({"n_draws": 0}, "--n-draws got 0; expected at least 1"),
    "outside": ({"share": 1.5}, "--share got 1.5; expected a number from 0.0 to 1.0"),
    "no number": ({"share": float("nan")}, "--share got nan; expected a number from 0.0 to 1.0"),
    "no choice": ({"at": "home"}, "--at got 'home'; expected one of model, native"),
    "within a tuple": ({"subsets": ((1,), (2, 2))}, "--subsets got 2,2; expected distinct numbers of at least 0"),
    "an empty tuple": ({"subsets": ((),)}, "--subsets got nothing; expected distinct numbers of at least 0"),
    "an element": ({"widths": (8, 12, 0)}, "--widths got 12; expected a positive multiple of the groups 8\n"
                   "--widths got 0; expected a positive multiple of the groups 8"),
    "a blank": ({"text": " "}, "--text got ' '; expected at least one word"),
    "bytes that are not UTF-8": ({"text": "caf\udce9"}, "--text got caf\\xe9; expected UTF-8: rename the file or "
                                 "folder, or correct the text"),
    "all at once": ({"n_draws": 0, "at": "home"}, "--n-draws got 0; expected at least 1\n"
                    "--at got 'home'; expected one of model, native"),
    "fields that exclude each other": ({"n_draws": 2, "at": "native", "share": 2.0},
                                       "--share got 2.0; expected a number from 0.0 to 1.0\nboth"),
}  # fmt: skip


@pytest.mark.parametrize("row", GIVEN)
def test_what_the_annotation_does_not_allow_is_refused(row):
    given, message = GIVEN[row]
    with pytest.raises(ConfigError) as refused:
        Example(**given)
    assert str(refused.value) == message


def test_what_the_annotations_allow_is_taken():
    config = Example(2, 1.0, "model", ((0, 1), (1,)), (8, 64), "a text")
    assert config.subsets == ((0, 1), (1,))
    assert list(problems_of("any", 3, int | None)) == []


@pytest.mark.parametrize("window", [(-160, 240), (-32768, 65535), (0, 1), None])
def test_windows_may_lie_below_zero(window):
    assert CheckConfig(Path("data"), window).window == window


@pytest.mark.parametrize("window", [(240, -160), (5, 5), (-32769, 0), (0, 65536)])
def test_windows_out_of_range_are_refused(window):
    said = f"--window got {window[0]},{window[1]}; expected LOW,HIGH with -32768 <= LOW < HIGH <= 65535"
    with pytest.raises(ConfigError, match=said):
        CheckConfig(Path("data"), window)


def test_commands_that_score_share_their_options_and_not_the_split():
    assert EvaluateConfig(Path("run"), Path("cache")).split == "test"
    assert CompareConfig(Path("a"), Path("b")).split == "val"


def test_choices_are_refused_in_the_api_too():
    with pytest.raises(ConfigError, match="--head got 'oracle'; expected one of auto, pixel, context, paper"):
        TrainConfig(Path("cache"), Path("run"), head="oracle")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"num_parts": 2}, "--num-parts was given without --part-id; give both"),
        ({"part_id": 0}, "--part-id was given without --num-parts; give both"),
        ({"num_parts": 0, "part_id": 0}, "--num-parts got 0; expected at least 1"),
        ({"num_parts": 2, "part_id": 2}, "--part-id got 2; expected a number from 0 to 1"),
        ({"num_parts": 2, "part_id": 1, "engine": "ray"}, "--engine ray got --num-parts too; give one of them"),
        ({"workers": 2}, "--workers was given without --engine ray; give both"),
    ],
)
def test_parts_and_workers_that_make_no_sense_are_refused(parts, message):
    with pytest.raises(ConfigError) as refused:
        ExtractConfig(Path("data"), Path("cache"), "diffusers:x", **parts)
    assert str(refused.value) == message
