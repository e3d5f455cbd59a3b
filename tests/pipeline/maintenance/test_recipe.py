"""Configs as commands: what a shell gets back is the config again."""

import shlex
from dataclasses import replace
from pathlib import Path

from textdiff import cli
from textdiff.cache.reader import FeatureReader
from textdiff.pipeline.config.ablation import AblateConfig
from textdiff.pipeline.config.command_line import command_line, read_command
from textdiff.pipeline.config.extraction import ExtractConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.maintenance.info import cache_info
from textdiff.pipeline.maintenance.recipe import extraction_of


def test_only_what_is_not_as_by_default_is_told_and_quoted_for_a_shell():
    config = TrainConfig(
        Path("my cache"),
        Path("run'1"),
        head="pixel",
        filters=False,
        timesteps=(50, 150),
        epochs=5,
        hold_out=True,
        text="none",
    )
    told = command_line("train-head", config)
    flags = "--head pixel --timesteps 50,150 --no-filters --text none --hold-out --epochs 5"
    assert told == f"""textdiff train-head 'my cache' 'run'"'"'1' {flags}"""
    assert command_line("train-head", config, without=("epochs", "hold_out")).endswith("--no-filters --text none")
    subsets = AblateConfig(Path("c"), Path("o"), subsets=((50,), (50, 150)), seeds=(3,))
    assert command_line("ablate-timesteps", subsets) == "textdiff ablate-timesteps c o --subsets '50;50,150' --seeds 3"
    extraction = ExtractConfig(Path("d"), Path("c"), "diffusers:u", filters=False, resume=True, window=(-100, 300))
    assert command_line("extract-features", extraction) == (
        "textdiff extract-features d c --unet diffusers:u --window -100,300 --no-filters --resume"
    )


def test_the_command_of_an_extraction_names_its_encoders(extraction, tiny_dinov2, tiny_timm):
    encoders = (tiny_timm, f"hf:{tiny_dinov2}")
    made = replace(extraction, unet=None, encoder=encoders, encoder_layers=((0, 1), (2,)))
    extract_features(made)
    found = extraction_of(FeatureReader(made.cache), (), ())
    assert {name: getattr(found, name) for name in ("unet", "encoder", "encoder_layers")} == {
        "unet": None,
        "encoder": encoders,
        "encoder_layers": ((0, 1), (2,)),
    }
    told = command_line("extract-features", found)
    assert f"--encoder {encoders[0]} --encoder {encoders[1]} --encoder-layers '0,1;2'" in told
    assert "--unet" not in told


def test_the_command_of_an_extraction_is_what_made_the_cache(extraction, tiny_data):
    made = replace(extraction, views=4, noise="per-sample", seed=7, colours="standardised", dtype="int8")
    precision = extract_features(made).precision
    found = extraction_of(FeatureReader(made.cache), made.blocks, made.timesteps)
    assert found == replace(made, data=tiny_data.parent, device="auto", precision=precision)
    out = made.cache.with_name("command.json")
    cache_info(made.cache, out)
    assert ExtractConfig(**read_command(out, "extract-features", ExtractConfig)) == found
    repeated = extract_features(replace(found, dry_run=True))
    assert repeated.added_bytes == 0
    renamed = tiny_data.with_name("table.csv")
    tiny_data.rename(renamed)
    assert extraction_of(FeatureReader(made.cache), (1,), (5,)).data == Path("DATA")
    words = shlex.split(command_line("extract-features", found))
    assert words[:4] == ["textdiff", "extract-features", str(tiny_data.parent), str(made.cache)]
    assert cli.parse(words[words.index("--blocks") + 1], tuple[int, ...]) == (1, 3)
