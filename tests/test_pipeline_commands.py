"""Command lines say what differs from the defaults, and the command line reads them back as the same config."""

import shlex
from dataclasses import replace
from pathlib import Path

from textdiff import cli
from textdiff.cache.reader import FeatureReader
from textdiff.pipeline.commands import command_line, extraction_of
from textdiff.pipeline.config import ExtractConfig
from textdiff.pipeline.extract import extract_features
from textdiff.pipeline.head_config import AblateConfig


def test_a_command_line_has_what_differs_from_the_defaults():
    config = AblateConfig(Path("a cache"), Path("out"), subsets=((5,), (5, 50)), seeds=(1, 2))
    assert command_line("ablate-timesteps", config) == (
        "textdiff ablate-timesteps 'a cache' out --subsets '5;5,50' --seeds 1,2"
    )
    extraction = ExtractConfig(Path("d"), Path("c"), "diffusers:u", filters=False, resume=True, window=(-100, 300))
    assert command_line("extract-features", extraction) == (
        "textdiff extract-features d c --unet diffusers:u --window -100,300 --no-filters --resume"
    )


def test_the_command_of_an_extraction_is_what_made_the_cache(extraction, tiny_data):
    made = replace(extraction, views=4, noise="per-sample", seed=7, colours="standardised", dtype="int8")
    extract_features(made)
    found = extraction_of(FeatureReader(made.cache), made.blocks, made.timesteps)
    assert found == replace(made, data=tiny_data.parent, device="auto", precision="float32")
    renamed = tiny_data.with_name("table.csv")
    tiny_data.rename(renamed)
    assert extraction_of(FeatureReader(made.cache), (1,), (5,)).data == Path("DATA")
    words = shlex.split(command_line("extract-features", found))
    assert words[:4] == ["textdiff", "extract-features", str(tiny_data.parent), str(made.cache)]
    assert cli._parse(words[words.index("--blocks") + 1], tuple[int, ...]) == (1, 3)
