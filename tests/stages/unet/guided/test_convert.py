"""Converted UNets against guided-diffusion: its own recorded activations, and a reference written here."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import settings as property_settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from textdiff.stages.unet.guided.adm import ADMUNet2DModel, empty_model
from textdiff.stages.unet.guided.config import ADMConfig
from textdiff.stages.unet.guided.convert import convert_checkpoint, noise_schedule
from textdiff.stages.unet.guided.published import find_config, published_name
from textdiff.stages.unet.guided.tensors import convert_state
from textdiff.stages.unet.noise import add_noise
from textdiff.stages.unet.recorder import FrozenUNet, UNetRecorder

FIXTURES = Path(__file__).resolve().parents[5] / "shared" / "fixtures"
needs_fixtures = pytest.mark.skipif(
    not FIXTURES.is_dir(), reason="the reference activations are not beside the repository"
)
TIMESTEPS = (50, 150, 250)
N_CLASSES = 3


class Residual(nn.Module):
    """A residual block with guided-diffusion's tensor names; `resample` is applied on both of its paths."""

    def __init__(self, channels, out, embedding, scale_shift, resample=None):
        super().__init__()
        self.scale_shift, self.resample = scale_shift, resample or nn.Identity()
        self.in_layers = nn.Sequential(nn.GroupNorm(32, channels), nn.SiLU(), nn.Conv2d(channels, out, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, (1 + scale_shift) * out))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, out), nn.SiLU(), nn.Identity(), nn.Conv2d(out, out, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if out == channels else nn.Conv2d(channels, out, 1)

    def forward(self, x, embedding):
        h = self.in_layers[2](self.resample(F.silu(self.in_layers[0](x))))
        e = self.emb_layers(embedding)[:, :, None, None]
        if self.scale_shift:
            scale, shift = e.tensor_split(2, dim=1)
            h = self.out_layers[0](h) * (1 + scale) + shift
        else:
            h = self.out_layers[0](h + e)
        return self.skip_connection(self.resample(x)) + self.out_layers[3](F.silu(h))


class Attention(nn.Module):
    def __init__(self, channels, head_width, new_order):
        super().__init__()
        self.n_heads, self.new_order = channels // head_width, new_order
        self.norm = nn.GroupNorm(32, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x, embedding):
        flat = self.norm(x).flatten(2)
        rows = self.qkv(flat).unflatten(1, (3, self.n_heads, -1) if self.new_order else (self.n_heads, 3, -1))
        q, k, v = rows.unbind(1 if self.new_order else 2)  # each [batch, heads, width, position]
        weights = torch.softmax(torch.einsum("bhct,bhcs->bhts", q, k) / math.sqrt(q.shape[2]), dim=-1)
        mixed = torch.einsum("bhts,bhcs->bhct", weights, v).flatten(1, 2)
        return x + self.proj_out(mixed).view_as(x)


class Resampling(nn.Module):
    """Without residual blocks: a strided convolution `op`, or a `conv` after doubling."""

    def __init__(self, function, **convolution):
        super().__init__()
        self.function = function
        for name, module in convolution.items():
            self.add_module(name, module)

    def forward(self, x, embedding):
        for module in (self.function, *self.children()):
            x = module(x)
        return x


def halved(x):
    return F.avg_pool2d(x, 2)


def doubled(x):
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def strided(width):
    return Resampling(nn.Identity(), op=nn.Conv2d(width, width, 3, stride=2, padding=1))


def doubling(width):
    return Resampling(doubled, conv=nn.Conv2d(width, width, 3, padding=1))


class Reference(nn.Module):
    """guided-diffusion's UNet; its forward gives the output of every decoder block, and the whole's."""

    def __init__(self, flags):
        super().__init__()
        a = ADMConfig(**flags)
        self.width, embedding = a.num_channels, 4 * a.num_channels
        self.time_embed = nn.Sequential(nn.Linear(self.width, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.label_emb = nn.Embedding(N_CLASSES, embedding) if a.class_cond else None

        def residual(channels, out, resample=None):
            return Residual(channels, out, embedding, a.use_scale_shift_norm, resample)

        def attention(channels, decoder=False):
            return Attention(channels, head_width(flags, channels, decoder), flags["use_new_attention_order"])

        channels, skips, last = a.widths[0], [a.widths[0]], len(a.widths) - 1
        blocks = [[Entry(3, channels)]]
        for level, width in enumerate(a.widths):
            for _ in range(a.num_res_blocks):
                blocks.append([residual(channels, width), *([attention(width)] if a.attention[level] else [])])
                channels = width
                skips.append(width)
            if level < last:
                blocks.append([residual(width, width, halved) if a.resblock_updown else strided(width)])
                skips.append(width)
        self.input_blocks = nn.ModuleList(map(nn.ModuleList, blocks))
        middle = [residual(channels, channels), attention(channels), residual(channels, channels)]
        self.middle_block, blocks = nn.ModuleList(middle), []
        for level in range(last, -1, -1):
            width = a.widths[level]
            for i in range(a.num_res_blocks + 1):
                parts = [residual(channels + skips.pop(), width)]
                parts += [attention(width, decoder=True)] if a.attention[level] else []
                if level and i == a.num_res_blocks:
                    parts.append(residual(width, width, doubled) if a.resblock_updown else doubling(width))
                blocks.append(parts)
                channels = width
        self.output_blocks = nn.ModuleList(map(nn.ModuleList, blocks))
        self.out = nn.Sequential(
            nn.GroupNorm(32, channels), nn.SiLU(), nn.Conv2d(channels, 6 if a.learn_sigma else 3, 3, padding=1)
        )

    def forward(self, x, t, label=None):
        angles = t[:, None] * 10000 ** (-torch.arange(self.width // 2) / (self.width // 2))
        embedding = self.time_embed(torch.cat([angles.cos(), angles.sin()], dim=1))
        if label is not None:
            embedding = embedding + self.label_emb(label)
        skips, recorded = [], []
        for block in self.input_blocks:
            x = run(block, x, embedding)
            skips.append(x)
        x = run(self.middle_block, x, embedding)
        for block in self.output_blocks:
            x = run(block, torch.cat([x, skips.pop()], dim=1), embedding)
            recorded.append(x)
        return recorded, self.out(x)


def head_width(flags, channels, decoder):
    if flags.get("num_head_channels", -1) > 0:
        return flags["num_head_channels"]
    n_upsample = flags.get("num_heads_upsample", -1)
    return channels // (n_upsample if decoder and n_upsample > 0 else flags["num_heads"])


class Entry(nn.Conv2d):
    def __init__(self, channels, out):
        super().__init__(channels, out, 3, padding=1)

    def forward(self, x, embedding):
        return super().forward(x)


def run(block, x, embedding):
    for part in block:
        x = part(x, embedding)
    return x


def relative(a, b):
    return float((a - b).norm() / b.norm())


def record_all(model, x, t, label):
    """Every decoder block of a converted model, taken from its own full forward by hooks."""
    ends = []
    for level in model.up_blocks:
        parts = list(getattr(level, "attentions", level.resnets))
        ends += [*parts[:-1], level.upsamplers[0] if level.upsamplers else parts[-1]]
    recorded = []
    hooks = [end.register_forward_hook(lambda *call: recorded.append(call[-1])) for end in ends]
    output = model(x, t, class_labels=label).sample
    for hook in hooks:
        hook.remove()
    return recorded, output


@st.composite
def all_flags(draw):
    n_levels = draw(st.integers(1, 3))
    size = 2**n_levels
    heads = draw(
        st.sampled_from(
            [
                {"num_head_channels": 16},
                {"num_head_channels": 32, "num_heads": 3},
                {"num_heads": 1},
                {"num_heads": 4},
                {"num_heads": 2, "num_heads_upsample": 8, "num_head_channels": -1},
            ]
        )
    )
    num_channels = draw(st.sampled_from([32, 64]))
    factors = ["1", "2"] if num_channels == 32 else ["0.5", "1"]
    return heads | {
        "image_size": size,
        "num_channels": num_channels,
        "num_res_blocks": draw(st.integers(1, 2)),
        "channel_mult": ",".join(draw(st.sampled_from(factors)) for _ in range(n_levels)),
        "attention_resolutions": ",".join(str(size >> level) for level in range(n_levels) if draw(st.booleans())),
        "class_cond": draw(st.booleans()),
        "use_scale_shift_norm": draw(st.booleans()),
        "resblock_updown": draw(st.booleans()),
        "learn_sigma": draw(st.booleans()),
        "use_new_attention_order": draw(st.booleans()),
        "noise_schedule": draw(st.sampled_from(["linear", "cosine"])),
        "diffusion_steps": 1000,
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("random")


@given(flags=all_flags())
@property_settings(max_examples=25, deadline=None, derandomize=True, database=None)
@pytest.mark.slow
def test_random_architectures_convert_to_the_same_function_with_nothing_left_over(folder, flags):
    (folder / "config.json").write_text(json.dumps(flags))
    torch.manual_seed(0)
    reference = Reference(flags).eval()
    for parameter in reference.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)  # norms are not the identity, biases are not zero
    save_file(reference.state_dict(), folder / "model.safetensors")

    converted = convert_checkpoint("x", folder / "model.safetensors", folder / "config.json")

    config = converted.config
    assert sum(p.numel() for p in converted.model.parameters()) == sum(p.numel() for p in reference.parameters())
    side = 2 ** len(config.widths)
    x, t = torch.randn(2, 3, side, side), torch.tensor([3, 700])
    label = torch.tensor([2, 0]) if config.class_cond else None
    with torch.no_grad():
        expected, expected_output = reference(x, t, label)
        got, output = record_all(converted.model, x, t, label)
    assert len(got) == config.n_blocks
    assert max(relative(*pair) for pair in zip(got, expected, strict=True)) < 2e-5
    assert relative(output, expected_output) < 2e-5
    for number, activation in enumerate(got):
        channels, shrinkage = config.decoder_block(number)
        assert activation.shape == (2, channels, side // shrinkage, side // shrinkage)


@needs_fixtures
def test_the_reference_is_guided_diffusion():
    golden, weights = (load_file(FIXTURES / "adm_tiny" / f"{name}.safetensors") for name in ("golden", "weights"))
    reference = Reference(json.loads((FIXTURES / "adm_tiny" / "config.json").read_text())).eval()
    reference.load_state_dict(weights)
    with torch.no_grad():
        blocks, output = reference(golden["t150/noisy"], torch.tensor([150, 150]))
    assert max(relative(block, golden[f"t150/block{k}"]) for k, block in enumerate(blocks)) < 2e-5
    assert relative(output, golden["t150/output"]) < 2e-5


@needs_fixtures
def test_every_decoder_block_and_the_output_are_those_of_guided_diffusion():
    golden = load_file(FIXTURES / "adm_tiny" / "golden.safetensors")
    path = FIXTURES / "adm_tiny" / "weights.safetensors"
    converted = convert_checkpoint("x", path, FIXTURES / "adm_tiny" / "config.json")
    model = converted.model
    frozen = FrozenUNet(model, converted.scheduler.alphas_cumprod, "epsilon", digest="", source="x")

    noisy = add_noise(golden["image"], golden["noise"], TIMESTEPS, frozen.alphas_cumprod)
    recorded = UNetRecorder(frozen, range(9)).record(golden["image"], TIMESTEPS, golden["noise"])

    for index, t in enumerate(TIMESTEPS):
        assert relative(noisy[index], golden[f"t{t}/noisy"]) < 1e-5
        for block in range(9):
            assert relative(recorded[block][index], golden[f"t{t}/block{block}"]) < 1e-5
        with torch.no_grad():
            output = model(golden[f"t{t}/noisy"], t).sample
        assert relative(output, golden[f"t{t}/output"]) < 1e-5


@needs_fixtures
def test_every_tensor_of_the_256_model_has_a_counterpart():
    shapes = {name: tuple(s) for name, s in json.loads((FIXTURES / "adm256_shapes.json").read_text()).items()}
    config = find_config("x", shapes, None)
    model = empty_model(config)
    state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}

    converted = convert_state(state, model, config)

    assert len(state) == 566
    assert {name: t.shape for name, t in converted.items()} == {name: t.shape for name, t in model.state_dict().items()}
    assert sum(t.numel() for t in converted.values()) == sum(t.numel() for t in state.values()) == 552_814_086
    assert published_name(config) == "256x256_diffusion_uncond or an LSUN model"
    assert not isinstance(model, ADMUNet2DModel)
    assert model.config.down_block_types == ("ResnetDownsampleBlock2D",) * 3 + ("AttnDownBlock2D",) * 3
    assert model.config.attention_head_dim == 64


@pytest.mark.parametrize("n_steps", [1000, 4000, 50])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_betas_are_guided_diffusions(schedule, n_steps):
    if schedule == "linear":
        first, last = 0.1 / n_steps, 20 / n_steps
        expected = [first + (last - first) * step / (n_steps - 1) for step in range(n_steps)]
    else:
        alpha_bar = [math.cos((step / n_steps + 0.008) / 1.008 * math.pi / 2) ** 2 for step in range(n_steps + 1)]
        expected = [min(1 - alpha_bar[step + 1] / alpha_bar[step], 0.999) for step in range(n_steps)]
    config = ADMConfig(
        image_size=64,
        learn_sigma=True,
        num_head_channels=16,
        use_new_attention_order=False,
        noise_schedule=schedule,
        diffusion_steps=n_steps,
    )
    scheduler = noise_schedule(config)
    assert scheduler.config.num_train_timesteps == n_steps
    assert torch.allclose(scheduler.betas.double(), torch.tensor(expected, dtype=torch.double), rtol=0, atol=1e-7)
    assert scheduler.config.variance_type == "learned_range"
    assert scheduler.config.prediction_type == "epsilon"
    assert noise_schedule(replace(config, predict_xstart=True)).config.prediction_type == "sample"
