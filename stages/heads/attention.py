"""Cross-attention from pixels to the tokens of their image's text."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

TextReader = Callable[[Float[Tensor, "image pixel width"]], Float[Tensor, "#image #pixel n_out"]]
"""Text for pixels to read: pixels → what each of them reads."""

TOKENS_AT_ONCE = 16
"""torch's attention on CPUs is three times slower, backward too, with 13 tokens than with 16 (AVX-512, torch 2)."""


class TextAttention(nn.Module):
    """Multi-head attention whose queries are pixels and whose keys and values are text tokens.

    Where an image has no text, its pixels attend to one learned null token instead.

    Args:
        width: channels of the pixels, and of the heads together.
        text_dim: channels of a token.
        n_attention_heads: number of heads; divides `width`.
        n_out: channels of what is read.
    """

    def __init__(self, width: int, text_dim: int, n_attention_heads: int, n_out: int) -> None:
        super().__init__()
        self.n_attention_heads = n_attention_heads
        self.null_token = nn.Parameter(torch.zeros(text_dim))
        self.norm_text = nn.LayerNorm(text_dim)
        self.norm_pixels = nn.LayerNorm(width)
        self.to_query = nn.Linear(width, width, bias=False)
        self.to_key = nn.Linear(text_dim, width, bias=False)
        self.to_value = nn.Linear(text_dim, width, bias=False)
        self.to_out = nn.Linear(width, n_out)

    def forward(
        self,
        pixels: Float[Tensor, "image pixel width"],
        tokens: Float[Tensor, "image token dim"],
        mask: Bool[Tensor, "image token"],
    ) -> Float[Tensor, "#image #pixel n_out"]:
        """Values that each pixel reads from the text (no residual).

        Args:
            pixels: any range; normalised here.
            tokens: as the text encoder gave them.
            mask: true on real tokens; an image whose mask is false throughout has no text.
        """
        return self.reading(tokens, mask)(pixels)

    def reading(self, tokens: Float[Tensor, "image token dim"], mask: Bool[Tensor, "image token"]) -> TextReader:
        """`forward` as a function of the pixels: what depends on the texts alone is computed once.

        Args:
            tokens: as `forward`.
            mask: as `forward`.
        """
        if torch.compiler.is_compiling() and len(tokens) == 1:  # a graph holds for texts present and absent
            return self._reading_of_many(*self._with_null(self.norm_text(tokens), mask))
        # With one thing to read, every pixel reads the same: no need to ask. In training a GPU is not asked for that.
        if (mask.device.type == "cpu" or not self.training) and not mask.any():
            nothing = self.to_out(self.to_value(self.null_token))[None, None]
            return lambda pixels: nothing.expand(*pixels.shape[:2], -1) if self.training else nothing
        if len(tokens) == 1 and not self.training:
            return self._reading_of_many(self.norm_text(tokens[:, mask[0]]))
        tokens, mask = self._with_null(self.norm_text(tokens), mask)
        key, value = self._heads(self.to_key(tokens)), self._heads(self.to_value(tokens))

        def read(pixels: Tensor) -> Tensor:
            query = self._heads(self.to_query(self.norm_pixels(pixels)))
            read = attend(query, key, value, mask[:, None, None, :])
            return self.to_out(read.transpose(1, 2).flatten(2))

        return read

    def _reading_of_many(
        self, tokens: Float[Tensor, "1 token dim"], mask: Bool[Tensor, "1 token"] | None = None
    ) -> TextReader:
        """`reading` for the many pixels of one image: projections of its tokens take the place of those of pixels.

        q·Kᵀ = x·(K·W_q)ᵀ, and (A·V)·W_o = A·(V·W_o); the weights A of each attention head add up to 1.

        Args:
            tokens: normalised.
            mask: true on tokens that may be read; `None`: on all.
        """
        n = self.n_attention_heads
        (key,), (value,) = self._heads(self.to_key(tokens)), self._heads(self.to_value(tokens))
        keys = key @ self.to_query.weight.unflatten(0, (n, -1)) / key.shape[-1] ** 0.5  # [head, token, width]
        values = value @ self.to_out.weight.unflatten(1, (n, -1)).permute(1, 2, 0) + self.to_out.bias / n

        def read(pixels: Tensor) -> Tensor:
            # Pixels last: softmax over a short last axis takes many times longer.
            scores = keys.flatten(0, 1) @ self.norm_pixels(pixels[0]).T
            scores = scores.unflatten(0, (n, -1))
            if mask is not None:
                scores = scores.masked_fill(~mask[0, :, None], -torch.inf)
            weights = scores.softmax(1).flatten(0, 1)
            return (weights.T @ values.flatten(0, 1))[None]

        return read

    def weights(
        self,
        pixels: Float[Tensor, "image pixel width"],
        tokens: Float[Tensor, "image token dim"],
        mask: Bool[Tensor, "image token"],
    ) -> Float[Tensor, "image head pixel token"]:
        """How much of what each pixel reads is of each token; all 0 where an image has no text.

        Args:
            pixels: as `forward`.
            tokens: as `forward`.
            mask: as `forward`.
        """
        n_tokens = tokens.shape[1]
        tokens, mask = self._with_null(self.norm_text(tokens), mask)
        query, key = self._heads(self.to_query(self.norm_pixels(pixels))), self._heads(self.to_key(tokens))
        return attention_weights(query, key, mask)[..., 1 : 1 + n_tokens]

    def _with_null(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens after the null token, and padding that nobody reads up to a multiple of `TOKENS_AT_ONCE`."""
        null = self.null_token.expand(len(tokens), 1, -1).to(tokens.dtype)
        n_missing = -(tokens.shape[1] + 1) % TOKENS_AT_ONCE
        tokens = F.pad(torch.cat([null, tokens], 1), (0, 0, 0, n_missing))
        return tokens, F.pad(torch.cat([~mask.any(1, keepdim=True), mask], 1), (0, n_missing))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.n_attention_heads, -1)).transpose(1, 2)  # [image, head, item, channel]


def attend(
    query: Float[Tensor, "image head item channel"],
    key: Float[Tensor, "image head token channel"],
    value: Float[Tensor, "image head token channel"],
    mask: Bool[Tensor, "#image #head #item token"],
) -> Float[Tensor, "image head item channel"]:
    """`F.scaled_dot_product_attention`; on CPUs in float32, since its backward in bfloat16 takes 4 to 8 times as long.

    Args:
        query: of the items that read.
        key: of the tokens.
        value: of the tokens.
        mask: true on tokens that may be read.
    """
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(query.float(), key.float(), value.float(), attn_mask=mask)


def attention_weights(
    query: Float[Tensor, "image head pixel channel"],
    key: Float[Tensor, "image head token channel"],
    mask: Bool[Tensor, "image token"],
) -> Float[Tensor, "image head pixel token"]:
    """The weights that `F.scaled_dot_product_attention` gives the values and does not tell.

    Args:
        query: of the pixels.
        key: of the tokens.
        mask: true on tokens that may be read; at least one of each image.
    """
    scores = query @ key.mT / query.shape[-1] ** 0.5
    return scores.masked_fill(~mask[:, None, None, :], -torch.inf).softmax(-1)
