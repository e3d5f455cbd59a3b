"""Names of the arrays of activations: a decoder block of the UNet at a timestep, or a layer of an image encoder.

A block is a number, a layer a name, `ENCODER/NUMBER`; an encoder sees no noise, so that its timestep is always 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

Block = int | str
"""A decoder block of the UNet, or a layer of an encoder."""
Pair = tuple[Block, int]
"""A block and a timestep, or a layer and `NO_NOISE`: one array of activations."""
NO_NOISE = 0
"""The timestep of an encoder's layers."""
_LAYER = re.compile(r"[A-Za-z]\w*/[0-9]+", re.ASCII)


def layer_name(encoder: str, number: int) -> str:
    """Name of an encoder's layer."""
    return f"{encoder}/{number}"


def encoder_of(block: Block) -> str | None:
    """Name of the encoder that a layer is of; `None`: a block of the UNet."""
    return block.partition("/")[0] if isinstance(block, str) else None


def layer_number(layer: Block) -> int:
    """Number of a layer in its encoder; a block is its own."""
    return int(layer.partition("/")[2]) if isinstance(layer, str) else layer


def is_block(name: object) -> bool:
    """Whether it is a block's number or has the form of a layer's name."""
    return isinstance(name, int) or (isinstance(name, str) and _LAYER.fullmatch(name) is not None)


def block_from_json(key: Block) -> Block:
    """A block from the key of a JSON object, which is always a string."""
    return int(key) if isinstance(key, str) and "/" not in key else key


def order(block: Block) -> tuple[str, int]:
    """Sorts blocks by number, then layers by encoder and number."""
    return encoder_of(block) or "", layer_number(block)


def in_order(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """The UNet's blocks by number, then layers by encoder and number."""
    return tuple(sorted(blocks, key=order))


def arrays_of(blocks: Sequence[int], timesteps: Sequence[int], layers: Sequence[str]) -> tuple[Pair, ...]:
    """Blocks at each timestep, then layers: the arrays that a head sees."""
    of_unet = ((block, timestep) for block in blocks for timestep in timesteps)
    return (*of_unet, *((layer, NO_NOISE) for layer in layers))


def pair_order(pair: Pair) -> tuple[tuple[str, int], int]:
    """Sorts pairs by block and timestep."""
    return order(pair[0]), pair[1]


def pairs_in_order(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    """Pairs by block and timestep, those of encoders last."""
    return tuple(sorted(pairs, key=pair_order))


def describe(block: Block, timestep: int) -> str:
    """The array in words."""
    if isinstance(block, str):
        return f"layer {layer_number(block)} of {encoder_of(block)}"
    return f"block {block}, timestep {timestep}"
