"""Tests that every `FeatureSource` passes: those of a source inherit `FeatureSourceTests` and open the source.

What is expected is written out from the cache's arrays. Cached features and live ones are held to the same, so that a
head gives the same logits for both.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch

from textdiff.cache.reader import FeatureReader
from textdiff.pipeline.config.extraction import ExtractConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.head_inputs.source import segment_tiles
from textdiff.pipeline.runs.heads import load_head
from textdiff.pipeline.runs.run_config import RunConfig
from textdiff.pipeline.training.train import train_head
from textdiff.pipeline.views.transforms import turn_back
from textdiff.stages.features.position import FULL_IMAGE, Region
from textdiff.stages.features.sampling import FILTERS, dense
from textdiff.stages.heads.base import Head
from textdiff.stages.heads.input import HeadInput

ENCODERS = ("hf:{tiny_dinov2}", "{tiny_timm}")
"""Sources with the names of fixtures in them."""
CONDITIONS = {
    "whole images": ({}, {}),
    "tiles in views": ({"tile": 16, "tile_overlap": 6, "views": 4, "views_of": "all", "noise": "per-sample"}, {}),
    "components in eight bits": ({"pca": 4, "dtype": "int8"}, {"head": "context"}),
    "no text, no filters, one block": ({}, {"text": "none", "filters": False, "blocks": (3,)}),
    "encoders beside the UNet in eight bits": ({"encoder": ENCODERS, "dtype": "int8", "pca": 4}, {"head": "context"}),
    "encoders alone, tiles": ({"encoder": ENCODERS, "unet": None, "tile": 16, "views": 2, "views_of": "all"}, {}),
    "a block and a layer": ({"encoder": ENCODERS}, {"sources": ("unet", "tiny_dinov2/1"), "blocks": (1,)}),
    "the paper's head on an encoder": ({"encoder": ENCODERS}, {"head": "paper", "sources": ("tiny_dinov2",)}),
    "filters alone": ({"encoder": ENCODERS}, {"sources": ("filters",)}),
}
"""How the cache is made, and how the head is trained."""
QUICK = ("whole images", "no text, no filters, one block")
PARAMS = [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in CONDITIONS]


@dataclass(frozen=True)
class TrainedRun:
    """A head and the cache that it was trained on, which holds one row a forward of the models."""

    folder: Path
    reader: FeatureReader
    config: RunConfig
    head: Head

    @property
    def rows(self):
        """Of an image whose text names a side, and of one without text."""
        return [row for row in self.reader.samples if row.parent in ("train2", "train3")]

    def expected(self, row) -> HeadInput:
        """A row's input, from the arrays of the cache."""
        config, features = self.config, {}
        for block in config.blocks:
            arrays = [self.reader.features(block, timestep, row.row) for timestep in config.timesteps]
            features[block] = [torch.from_numpy(np.array(array)) for array in arrays]
        for layer in config.layers:
            features[layer] = [torch.from_numpy(np.array(self.reader.features(layer, 0, row.row)))]
        if config.filters:
            features[FILTERS] = [torch.from_numpy(np.array(self.reader.filters(row.row)))]
        tokens, token_mask = torch.zeros(1, config.head.text_dim), torch.zeros(1, dtype=torch.bool)
        if row.text is not None and config.train["text"] == "true":
            tokens, token_mask = (torch.from_numpy(array[row.text]) for array in self.reader.texts())
        return HeadInput(features, (16, 16), tokens.float(), token_mask, self._region(row))

    def _region(self, row) -> Region:
        if self.config.features.tile is None:
            return FULL_IMAGE
        (top, left), (height, width) = row.tile, row.size
        top = height - 16 - top if row.view & 2 else top
        left = width - 16 - left if row.view & 1 else left
        return Region(top / height, left / width, 16 / height, 16 / width)


class FeatureSourceTests(ABC):
    """What holds of inputs, wherever they come from."""

    @abstractmethod
    def open(self, run: TrainedRun):
        """The source, for the head of a run."""

    @abstractmethod
    def rows_of(self, run: TrainedRun, source, rows):
        """The source's own rows for rows of the cache, in their order."""

    @pytest.fixture(scope="class", params=PARAMS)
    @classmethod
    def run(cls, request, tmp_path_factory, write_tiny_data, tiny_unet, tiny_encoder, tiny_dinov2, tiny_timm):
        cached, trained = CONDITIONS[request.param]
        sources = [one.format(tiny_dinov2=tiny_dinov2, tiny_timm=tiny_timm) for one in cached.get("encoder", ())]
        folder = tmp_path_factory.mktemp("run")
        data, cache, device = write_tiny_data(folder), folder / "cache", "cpu"
        cached = {"unet": f"diffusers:{tiny_unet}", **cached, "encoder": tuple(sources)}
        extract_features(
            ExtractConfig(
                data, cache, text_encoder=f"hf:{tiny_encoder}", timesteps=(50, 150), blocks=(1, 3), image_size=16,
                batch_size=1, device=device, **cached,
            )
        )  # fmt: skip
        trained = {"head": "pixel", "text": "true"} | trained
        training = TrainConfig(cache, folder / "run", epochs=1, width=16, n_attention_heads=2, device=device, **trained)
        train_head(training)
        config = RunConfig.read(training.run)
        return TrainedRun(training.run, FeatureReader(cache), config, load_head(training.run, config, device))

    def test_inputs_are_what_the_cache_holds(self, run):
        source = self.open(run)
        for row, x in zip(run.rows, source.inputs(self.rows_of(run, source, run.rows)), strict=True):
            expected = run.expected(row)
            assert x.size == expected.size
            torch.testing.assert_close(torch.tensor(x.region), torch.tensor(expected.region))
            assert list(x.features) == list(expected.features)
            for block, maps in expected.features.items():
                for map_, array in zip(x.features[block], maps, strict=True):
                    assert torch.equal(dense(map_).float(), array.float())
            torch.testing.assert_close(
                x.tokens[x.token_mask], expected.tokens[expected.token_mask], atol=2e-3, rtol=1e-3
            )

    def test_logits_are_those_of_the_caches_arrays(self, run):
        source = self.open(run)
        rows = self.rows_of(run, source, run.rows)
        logits = [run.head.segment(x) for x in source.inputs(rows)]
        expected = [run.head.segment(run.expected(row)) for row in run.rows]
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
        assert (logits[0] - logits[-1]).abs().max() > 1e-3

    def test_rows_are_taken_one_by_one(self, run):
        source, taken = self.open(run), []
        rows = self.rows_of(run, source, run.rows)
        inputs = source.inputs(taken.append(i) or row for i, row in enumerate(rows))
        assert taken == []
        next(inputs)
        assert taken == [0]
        assert len([*inputs]) == len(taken) - 1 == len(rows) - 1

    def test_tiles_are_upright_and_the_mean_over_their_views(self, run):
        source = self.open(run)
        tiles = [list(rows) for _, rows in groupby(run.rows, lambda row: (row.parent, row.tile))]
        inputs = source.inputs(self.rows_of(run, source, run.rows))
        logits = segment_tiles(run.head, inputs, ([row.view for row in rows] for rows in tiles))
        for rows, found in zip(tiles, logits, strict=True):
            views = [turn_back(run.head.segment(run.expected(row)).softmax(1), row.view) for row in rows]
            torch.testing.assert_close(found.softmax(1), torch.stack(views).mean(0), atol=1e-5, rtol=1e-5)

    def test_another_text_gives_other_logits(self, run):
        source = self.open(run)
        (x,) = source.inputs(self.rows_of(run, source, run.rows[:1]))
        other = run.head.segment(replace(x, token_mask=torch.zeros_like(x.token_mask)))
        assert torch.equal(other, run.head.segment(x)) is not bool(x.token_mask.any())
