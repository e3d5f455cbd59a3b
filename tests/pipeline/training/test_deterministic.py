"""Kernels of a training on a GPU: none whose sums depend on which thread comes first, as torch documents."""

import pytest
import torch
from pretend_device import pretend_device

from textdiff.cache.reader import FeatureReader
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.training.trainer import Trainer

WITHOUT = {
    "avg_pool3d_backward", "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward",
    "adaptive_max_pool2d_backward", "adaptive_max_pool3d_backward", "fractional_max_pool2d_backward",
    "fractional_max_pool3d_backward", "max_unpool2d", "max_unpool3d",
    "upsample_linear1d_backward", "upsample_bilinear2d_backward", "upsample_bicubic2d_backward",
    "upsample_trilinear3d_backward", "_upsample_bilinear2d_aa_backward", "_upsample_bicubic2d_aa_backward",
    "reflection_pad1d_backward", "reflection_pad2d_backward", "reflection_pad3d_backward",
    "nll_loss2d_forward", "nll_loss2d_backward", "_ctc_loss_backward", "put_", "histc", "median", "nanmedian",
    "kthvalue", "grid_sampler_2d_backward", "grid_sampler_3d_backward", "_cudnn_attention_backward",
}  # fmt: skip
"""Operations that have no deterministic kernel on CUDA: use_deterministic_algorithms raises an error of them."""


def kernels_of(training):
    with pretend_device() as traffic:
        trainer = Trainer.from_config(training, FeatureReader(training.cache))
        trainer.objective.prepare(trainer.split.train)
        trainer.step(trainer.split.train[:2], 0.0, torch.Generator().manual_seed(0))
        trainer.objective.check()
        assert torch.are_deterministic_algorithms_enabled()
    return {name.removeprefix("aten::") for name in traffic.kernels}


@pytest.mark.parametrize("head", ["pixel", "context", "paper"])
def test_no_kernel_of_a_step_and_a_check_is_without_a_deterministic_form(tiny_cache, tmp_path, head):
    sizes = {"width": 16, "n_attention_heads": 2, "epochs": 1}
    training = TrainConfig(tiny_cache, tmp_path / "run", head=head, text="true", precision="float32", **sizes)
    assert kernels_of(training) & WITHOUT == set()


def test_bilinear_interpolation_is_found_where_nobody_asks_for_determinism():
    with pretend_device() as traffic:
        x = torch.ones(1, 2, 4, 4, device="cuda", requires_grad=True)
        torch.nn.functional.interpolate(x, (8, 8), mode="bilinear").sum().backward()
    assert "aten::upsample_bilinear2d_backward" in traffic.kernels
