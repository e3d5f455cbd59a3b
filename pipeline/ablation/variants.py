"""Variants that an ablation compares: sets of timesteps or blocks, texts, or models; the grids that choose them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from ...cache.format.blocks import NO_NOISE, Pair, encoder_of
from ...cache.reader import FeatureReader
from ...errors import CacheMismatchError, ConfigError
from ..config.ablation import FIXED, AblateConfig, Grid, Over
from ..config.command_line import command_line
from ..config.training import FILTERS_SOURCE, UNET, TextMode
from ..maintenance.recipe import extraction_of

Subset = tuple[int, ...]


@dataclass(frozen=True)
class Variant:
    """Blocks, timesteps, text and layers of encoders that a head sees."""

    blocks: Subset
    timesteps: Subset
    text: TextMode
    layers: tuple[str, ...] = ()

    @property
    def filters(self) -> bool:
        """Whether the head sees the filter bank: beside models it would compensate for what is left out."""
        return not (self.blocks or self.layers)

    @property
    def sources(self) -> tuple[str, ...]:
        """The models as `--sources` names them; of encoders each layer."""
        return (*([UNET] if self.blocks else []), *self.layers) or (FILTERS_SOURCE,)

    def name(self, over: Over) -> str:
        """Its timesteps, blocks, text or models, as the flag writes them."""
        if over == "sources":
            return ",".join(dict.fromkeys(source.partition("/")[0] for source in self.sources))
        return self.text if over == "text" else ",".join(map(str, self.subset(over)))

    def subset(self, over: Over) -> Subset:
        """Its timesteps or blocks; empty for texts and models."""
        return {"timesteps": self.timesteps, "blocks": self.blocks}.get(over, ())

    @property
    def pairs(self) -> frozenset[Pair]:
        """(block, timestep) of its activations."""
        of_layers: list[Pair] = [(layer, NO_NOISE) for layer in self.layers]
        return frozenset([*itertools.product(self.blocks, self.timesteps), *of_layers])


def union_of_variants(config: AblateConfig, reader: FeatureReader) -> Variant:
    """The union of all variants.

    Raises:
        CacheMismatchError: if the cache lacks any of it, with the command that adds it.
        ConfigError: if there is too little for the grid.
    """
    named = {config.over: tuple(sorted({one for subset in config.subsets for one in subset}))} if config.subsets else {}
    everything = Variant(
        named.get("blocks") or config.blocks or reader.blocks,
        named.get("timesteps") or config.timesteps or reader.timesteps,
        config.text or "true",
        reader.layers if config.over in FIXED else (),
    )
    if config.over not in FIXED and not everything.pairs:
        raise ConfigError(f"{reader.root}: has no UNet whose {config.over} could be compared; give --over sources")
    _refuse_missing(reader, everything)
    n_least = {"pairs": 2, "leave-one-out": 2}.get(config.grid or "", 1)
    if config.over not in FIXED and len(everything.subset(config.over)) < n_least:
        raise ConfigError(f"--grid {config.grid} needs at least {n_least} {config.over}; there is one")
    return everything


def next_round(
    config: AblateConfig, everything: Variant, means: Mapping[Variant, float], *, filters: bool = False
) -> list[Variant]:
    """Variants to train next; none when the grid is finished.

    Args:
        config: settings.
        everything: the union of all variants.
        means: mean Dice of the variants of earlier rounds.
        filters: whether the cache has filters, which are a variant of models.
    """
    if config.over == "text":
        wanted = [replace(everything, text=text) for text in get_args(TextMode)]
    elif config.over == "sources":
        wanted = models_of(everything, filters=filters)
    elif config.grid == "forward":
        of_subset = {variant.subset(config.over): mean for variant, mean in means.items()}
        wanted = [_part(everything, config.over, one) for one in forward(everything.subset(config.over), of_subset)[1]]
    else:
        subsets = config.subsets or subsets_of(config.grid, everything.subset(config.over))
        wanted = [_part(everything, config.over, subset) for subset in subsets]
    return [variant for variant in wanted if variant not in means]


def models_of(everything: Variant, *, filters: bool) -> list[Variant]:
    """The UNet alone, each encoder alone, all together if there are several, and, if there are any, the filters."""
    layers: dict[str | None, tuple[str, ...]] = {}
    for layer in everything.layers:
        layers[encoder_of(layer)] = (*layers.get(encoder_of(layer), ()), layer)
    no_unet = replace(everything, blocks=(), timesteps=())
    alone = [replace(everything, layers=())] if everything.blocks else []
    alone += [replace(no_unet, layers=own) for own in layers.values()]
    together = [everything] if len(alone) > 1 else []
    return [*alone, *together, *([replace(no_unet, layers=())] if filters else [])]


def subsets_of(grid: Grid | None, items: Subset) -> list[Subset]:
    """The subsets of a grid that is known from the start; `None`: each one alone, and all together."""
    if grid == "pairs":
        return [*itertools.combinations(items, 2)]
    if grid == "leave-one-out":
        return [*(tuple(other for other in items if other != item) for item in items), items]
    singles: list[Subset] = [(item,) for item in items]
    return singles if grid == "singles" or len(items) == 1 else [*singles, items]


def forward(items: Subset, means: Mapping[Subset, float]) -> tuple[list[Subset], list[Subset]]:
    """Greedy forward selection, as far as the means are known.

    Args:
        items: to choose from.
        means: subset, in the order of `items` → its mean Dice.

    Returns:
        The best subset of each finished stage, each with one item more, and the subsets of the stage under way.
    """
    path: list[Subset] = []
    while len(path) < len(items):
        chosen = set(path[-1]) if path else set()
        stage = [_in_order(items, chosen | {item}) for item in items if item not in chosen]
        if not means.keys() >= {*stage}:
            return path, stage
        path.append(max(stage, key=means.__getitem__))
    return path, []


def _in_order(items: Sequence[int], chosen: Iterable[int]) -> Subset:
    return tuple(item for item in items if item in chosen)


def _part(everything: Variant, over: Over, subset: Subset) -> Variant:
    if over == "blocks":
        return replace(everything, blocks=subset)
    return replace(everything, timesteps=subset)


def _refuse_missing(reader: FeatureReader, wanted: Variant) -> None:
    missing = sorted((b, t) for b, t in wanted.pairs - reader.pairs if isinstance(b, int))
    if not missing:
        return
    of_block = {block: [t for b, t in missing if b == block] for block, _ in missing}
    lines = [f"  - block {block}: timesteps {_list(timesteps)}" for block, timesteps in of_block.items()]
    adding = extraction_of(reader, [*of_block], sorted({timestep for _, timestep in missing}))
    raise CacheMismatchError(
        "\n".join([f"{reader.root} lacks what is to be compared:", *lines])
        + f"\nit has blocks {_list(reader.blocks)} at timesteps {_list(reader.timesteps)}. Add them:\n  "
        + command_line("extract-features", adding)
    )


def _list(numbers: Iterable[int]) -> str:
    return ",".join(map(str, numbers))
