"""Inputs of a latent, text-conditioned UNet: latents of images, tokens of prompts.

Latent diffusion (Rombach et al. 2022, arXiv 2112.10752) noises and denoises the scaled latents of a VAE, and its UNet
attends to the tokens of a prompt in every level. Only the half of the VAE that encodes is kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...errors import DataError
from ..text.transformers_models import PROBE, model_settings

N_PROMPTS_KEPT = 64
"""Tokens of this many prompts are kept, the latest ones: the empty prompt is encoded once a run."""

# What changes latents and does not show in the weights' names and shapes.
_VAE_SETTINGS = ("down_block_types", "act_fn", "norm_num_groups", "scaling_factor", "shift_factor")


class LatentInput(nn.Module):
    """The frozen VAE's encoder and the frozen text encoder of a Stable Diffusion pipeline, in float32.

    Args:
        vae: diffusers' `AutoencoderKL`.
        text_encoder: transformers' `CLIPTextModel`.
        tokenizer: transformers' `CLIPTokenizer`.
    """

    def __init__(self, vae: Any, text_encoder: Any, tokenizer: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.encoder: nn.Module = vae.encoder
        self.quant_conv: nn.Module | None = vae.quant_conv
        # transformers 4 wraps the model that transformers 5 gives: within, weights have the same names in both.
        self.text_model: nn.Module = getattr(text_encoder, "text_model", text_encoder)
        self.channels: int = vae.config.latent_channels
        self.text_dim: int = text_encoder.config.hidden_size
        self.max_tokens = min(int(tokenizer.model_max_length), text_encoder.config.max_position_embeddings)
        self.pixels_per_latent = 1 << (len(vae.config.block_out_channels) - 1)
        self.settings = _settings(vae, text_encoder, tokenizer, self.max_tokens)
        self._scaling_factor = float(vae.config.scaling_factor)
        self._shift_factor = float(vae.config.shift_factor or 0)
        self._reads_mask = bool(getattr(text_encoder.config, "use_attention_mask", False))
        self._tokenizer = tokenizer
        self._encoded = lru_cache(maxsize=N_PROMPTS_KEPT)(self._encode_prompt)

    def encode_image(self, image: Float[Tensor, "batch 3 y x"]) -> Float[Tensor, "batch channel latent_y latent_x"]:
        """x_0 of latent diffusion: (mode - shift_factor) * scaling_factor, float32.

        The mode of the VAE's posterior is taken, not a draw from it: the same image must give the same features
        whatever was encoded before it, and noise enters where it is named and counted, in x_t.

        Args:
            image: in [-1, 1]; sides are multiples of `pixels_per_latent`.
        """
        moments = self.encoder(image)
        if self.quant_conv is not None:
            moments = self.quant_conv(moments)
        mode = moments.chunk(2, dim=1)[0]
        return (mode - self._shift_factor) * self._scaling_factor

    def encode_prompts(self, prompts: Sequence[str]) -> Float[Tensor, "prompt token dim"]:
        """Tokens of prompts, padded to the tokenizer's full length as Stable Diffusion was trained.

        Each prompt goes through the encoder by itself, so its tokens do not depend on the others.

        Raises:
            DataError: prompts are longer than the text encoder reads; all of them are listed.
        """
        self._check_lengths(prompts)
        return torch.cat([self._encoded(prompt) for prompt in prompts])

    def _check_lengths(self, prompts: Sequence[str]) -> None:
        counts = [len(ids) for ids in self._tokenizer(list(prompts), verbose=False).input_ids]
        long = [f"{n} tokens: {prompt!r}" for prompt, n in zip(prompts, counts, strict=True) if n > self.max_tokens]
        if long:
            raise DataError(
                f"{len(long)} prompts are longer than the {self.max_tokens} tokens that the text encoder reads; "
                "shorten them, or use the empty prompt",
                long,
            )

    def _encode_prompt(self, prompt: str) -> Float[Tensor, "1 token dim"]:
        device = next(self.text_model.parameters()).device
        inputs = self._tokenizer(
            [prompt], padding="max_length", max_length=self.max_tokens, truncation=True, return_tensors="pt"
        ).to(device)
        mask = inputs.attention_mask if self._reads_mask else None
        tokens: Tensor = self.text_model(input_ids=inputs.input_ids, attention_mask=mask).last_hidden_state
        return tokens


def _settings(vae: Any, text_encoder: Any, tokenizer: Any, max_tokens: int) -> dict[str, Any]:  # noqa: ANN401
    """Settings that a digest must hold beside the weights; CLIP's merges rank as their results do in the vocabulary."""
    vocabulary = json.dumps(tokenizer.get_vocab(), sort_keys=True).encode()
    probe = tokenizer(["", PROBE], padding="max_length", max_length=max_tokens, truncation=True)
    return {
        "vae": {name: vae.config.get(name) for name in _VAE_SETTINGS},
        "text_encoder": {
            **model_settings(text_encoder),
            "use_attention_mask": bool(getattr(text_encoder.config, "use_attention_mask", False)),
        },
        "tokenizer": {"vocabulary": hashlib.sha256(vocabulary).hexdigest(), "probe": probe.input_ids},
    }
