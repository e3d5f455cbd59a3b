"""A head as one function of a cache's arrays, to be handed to programs without textdiff.

Its inputs are named as the arrays of a cache are (cache/FORMAT.md), without the axis of rows: who has row i of a cache
has the inputs. A head asks for no more than it reads: one that was trained without texts has no input for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...cache.format.blocks import Block, Pair
from ...cache.format.layout import (
    ArrayLayout,
    features_layout,
    filters_layout,
    scales_layout,
    texts_layouts,
)
from ...stages.features.sampling import Map, QuantisedMap
from ...stages.heads.base import Head
from ...stages.heads.input import HeadInput
from ..head_inputs.source import head_maps
from .run_config import RunConfig

REGION = "region"
"""Input for the part of the image that the activations show: top, left, height and width, in shares of the image."""
TOKENS, TOKEN_MASK = (layout.name for layout in texts_layouts(1, 1))
TOKEN_AXIS = "token"


@dataclass(frozen=True)
class GraphInput:
    """One input of a graph."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    """Sizes of its axes; a name stands for a size that the caller chooses."""
    about: str
    """In words."""


def graph_inputs(config: RunConfig) -> tuple[GraphInput, ...]:
    """The inputs of a run's head, in order."""
    inputs = [one for pair in config.pairs for one in _of_activations(config, *pair)]
    if config.filters:
        layout = filters_layout(config.features)
        inputs.append(_of_row(layout, layout.row_shape, "filters of the image"))
    if config.text != "none":
        tokens, mask = texts_layouts(1, config.head.text_dim)
        inputs.append(_of_row(tokens, (TOKEN_AXIS, config.head.text_dim), "tokens of the text"))
        inputs.append(_of_row(mask, (TOKEN_AXIS,), "true on real tokens; false throughout: no text"))
    if config.head.position:
        about = "top, left, height and width of what the activations show, in shares of the image; whole: 0, 0, 1, 1"
        inputs.append(GraphInput(REGION, "float32", (4,), about))
    return tuple(inputs)


def _of_activations(config: RunConfig, block: Block, timestep: int) -> Iterator[GraphInput]:
    """Of a block at a timestep, or of a layer; in eight bits with what one step of each channel is worth."""
    side, dtype = config.features.image_size, config.features.dtype
    n_maps = len(config.timesteps) if isinstance(block, int) else 1
    n_channels = config.head.channels[block] // n_maps
    name = str(block).replace("/", "_")
    size: tuple[int | str, ...] = (side, side) if block in config.head.fine else (f"y_{name}", f"x_{name}")
    layout = features_layout(block, timestep, (side, side, n_channels), dtype, 1)
    yield _of_row(layout, (*size, n_channels), "activations, channels last")
    if dtype == "int8":
        yield _of_row(scales_layout(block, timestep, n_channels, 1), (n_channels,), "worth of one step of a channel")


def _of_row(layout: ArrayLayout, shape: tuple[int | str, ...], about: str) -> GraphInput:
    return GraphInput(layout.name, layout.dtype.name, shape, about)


class HeadGraph(nn.Module):
    """Probabilities of a run's head, the mean over its members, as a function of `graph_inputs`.

    Args:
        head: of the run, in evaluation mode; computes in float32.
        config: of the run.
    """

    def __init__(self, head: Head, config: RunConfig) -> None:
        super().__init__()
        self.head, self._config = head, config

    def forward(self, arrays: Mapping[str, Tensor]) -> Float[Tensor, "n_classes y x"]:
        """Probabilities at the label map's size.

        Args:
            arrays: name → array, as `graph_inputs` lists them.
        """
        x = self.head_input(arrays)
        logits = self.head.segment_prepared(self.head.prepare(x.features), x)
        return logits.softmax(1).mean(0)

    def head_input(self, arrays: Mapping[str, Tensor]) -> HeadInput:
        """The arrays as the head takes them."""
        config = self._config
        maps: dict[Pair, Map] = {pair: _map(arrays, *pair, config.features.dtype) for pair in config.pairs}
        filters = arrays[filters_layout(config.features).name] if config.filters else None
        if config.text == "none":
            tokens, mask = torch.zeros(1, config.head.text_dim), torch.zeros(1, dtype=torch.bool)
        else:
            tokens, mask = arrays[TOKENS].float(), arrays[TOKEN_MASK]
        size = (config.features.image_size,) * 2
        region = {"region": arrays[REGION]} if config.head.position else {}
        return HeadInput(head_maps(maps, filters), size, tokens, mask, **region)


def _map(arrays: Mapping[str, Tensor], block: Block, timestep: int, dtype: str) -> Map:
    values = arrays[features_layout(block, timestep, (1, 1, 1), dtype, 1).name]
    return QuantisedMap(values, arrays[scales_layout(block, timestep, 1, 1).name]) if dtype == "int8" else values


def draw_arrays(
    graph: HeadGraph, config: RunConfig, sizes: Mapping[str, int], generator: torch.Generator
) -> dict[str, Tensor]:
    """Arrays of the kind that the head was trained on, by chance.

    Args:
        graph: of the run's head.
        config: of the run.
        sizes: of the axes that have names; absent ones are a quarter of the image's side.
        generator: of the numbers.
    """
    arrays: dict[str, Tensor] = {}
    for one in graph_inputs(config):
        shape = [n if isinstance(n, int) else sizes.get(n, config.features.image_size // 4) for n in one.shape]
        arrays[one.name] = _drawn(one, shape, generator)
    for block, maps in graph.head_input(arrays).features.items():
        mean, scale = (graph.head.members[0].get_buffer(f"{name}_{block}") for name in ("mean", "scale"))
        for values, own, unit in zip(maps, mean.chunk(len(maps)), scale.chunk(len(maps)), strict=True):
            if isinstance(values, QuantisedMap):
                values.scale.copy_(1 / (64 * unit))
            else:
                values.copy_(own + values / unit)
    return arrays


def _drawn(of: GraphInput, shape: list[int], generator: torch.Generator) -> Tensor:
    """Normally distributed numbers, evenly distributed steps, a mask that is true throughout, or a tile's region."""
    if of.name == REGION:
        return torch.tensor([0.5, 0.25, 0.25, 0.25])
    if of.dtype == "bool":
        return torch.ones(shape, dtype=torch.bool)
    if of.dtype == "int8":
        return torch.randint(-127, 128, shape, generator=generator, dtype=torch.int8)
    return torch.randn(shape, generator=generator).to(getattr(torch, of.dtype))
