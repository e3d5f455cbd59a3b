"""TextDiff's own head: the paper's parameter counts, and its arithmetic worked out in another way."""

import pytest
import torch
import torch.nn.functional as F

from textdiff.errors import ConfigError
from textdiff.stages.features.sampling import QuantisedMap
from textdiff.stages.heads.base import HeadSpec
from textdiff.stages.heads.input import HeadInput
from textdiff.stages.heads.paper import PaperHead, stack_maps

SPEC = HeadSpec(channels={7: 6, 2: 4, 5: 6, 9: 8}, n_classes=3, text_dim=5, width=8, n_attention_heads=2)
SIZE = (12, 16)
SIDES = {2: (3, 4), 5: (6, 8), 7: (6, 8), 9: (12, 16)}


@pytest.fixture
def head():
    torch.manual_seed(0)
    head = PaperHead(SPEC).eval()
    for name, parameter in head.named_parameters():
        torch.nn.init.normal_(parameter, mean=1.0 if "norm" in name else 0.0, std=0.3)
    for name, buffer in head.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            torch.nn.init.uniform_(buffer, 0.5, 1.5)
    return head


@pytest.fixture
def features():
    generator = torch.Generator().manual_seed(1)
    return {block: torch.randn(2, *SIDES[block], c, generator=generator) for block, c in SPEC.channels.items()}


@pytest.fixture
def text():
    """Of two images, the first with 3 tokens and the second with 2; the rest is padding."""
    tokens = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(2))
    return tokens, torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]]).bool()


def logits_of(head, maps, *text):
    (logits,) = head.segment(HeadInput(maps, SIZE, *text))
    return logits


def written_out(head, features, tokens):
    """The head of one image as the design says it, from its weights, with channels first and head by head."""
    weights, enlarged = head.state_dict(), []
    for place, block in enumerate(sorted(features)):
        x = features[block].movedim(-1, 1)
        if x.shape[1] != SPEC.width:
            name = "project_deepest" if place == 0 else "project_others"
            x = F.conv2d(x, weights[f"{name}.weight"][..., None, None], weights[f"{name}.bias"])
        pixels = x[0].flatten(1).T
        for name in ("text_block.attentions.0", "text_block.attentions.1"):
            pixels = pixels + attended(weights, name, pixels, tokens)
        hidden = F.gelu(normed(weights, "text_block.feed_forward.0", pixels))
        weight, bias = (weights[f"text_block.feed_forward.2.{of}"] for of in ("weight", "bias"))
        pixels = pixels + hidden @ weight.T + bias
        enlarged.append(F.interpolate(pixels.T.reshape(1, -1, *x.shape[2:]), SIZE, mode="bilinear"))
    return head.decoder(torch.cat(enlarged, 1))


def attended(weights, name, pixels, tokens):
    query = normed(weights, f"{name}.norm", pixels) @ weights[f"{name}.to_query.weight"].T
    key, value = (tokens @ weights[f"{name}.{to}.weight"].T for to in ("to_key", "to_value"))
    read = []
    for channels in (slice(0, 64), slice(64, 128)):
        shares = (query[:, channels] @ key[:, channels].T / 8).softmax(-1)
        read.append(shares @ value[:, channels])
    out = torch.cat(read, 1) @ weights[f"{name}.to_out.0.weight"].T + weights[f"{name}.to_out.0.bias"]
    return normed(weights, f"{name}.to_out.1", out)


def normed(weights, name, x):
    return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])


@pytest.mark.parametrize(
    ("blocks", "n_parameters"), [((6, 8, 12, 16), 9_683_234), ((4, 6, 8, 12), 10_862_882)], ids=["MoNuSeg", "QaTa"]
)
def test_the_papers_heads_have_the_papers_parameters(blocks, n_parameters):
    widths = [256 * multiplier for multiplier in (4, 4, 2, 2, 1, 1) for _ in range(3)]  # of the 18 decoder blocks
    channels = {block: 3 * widths[block] for block in blocks}
    head = PaperHead(HeadSpec(channels, n_classes=2, text_dim=768, width=768, n_attention_heads=8))
    assert sum(parameter.numel() for parameter in head.parameters()) == n_parameters


@torch.no_grad()
def test_the_head_is_what_the_design_says(head, features, text):
    tokens, mask = text
    found = head(features, SIZE, tokens, mask)
    assert found.shape == (2, 3, *SIZE)
    for place, n_tokens in enumerate((3, 2)):
        alone = {block: x[place : place + 1] for block, x in features.items()}
        expected = written_out(head, alone, tokens[place, :n_tokens])
        torch.testing.assert_close(found[place : place + 1], expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_initial_weights_are_the_papers():
    torch.manual_seed(0)
    head = PaperHead(SPEC)
    assert float(head.decoder[0].weight.std()) == pytest.approx(0.02, rel=0.02)
    assert float(head.decoder[1].weight.mean()) == pytest.approx(1.0, abs=0.01)
    assert float(head.decoder[1].weight.std()) == pytest.approx(0.02, rel=0.3)
    assert head.text_block.attentions[0].norm.weight.tolist() == [1.0] * 8
    biases = [parameter for name, parameter in head.named_parameters() if name.endswith("bias")]
    assert len(biases) == 15
    assert not torch.cat(biases).any()


@torch.no_grad()
def test_padding_of_the_text_has_no_influence(head, features, text):
    tokens, mask = text
    before = head(features, SIZE, tokens, mask)
    rounding = {"atol": 1e-4, "rtol": 1e-4}  # of logits of about 1, through six layers in float32
    other_padding = tokens.masked_fill(~mask[..., None], 100.0)
    torch.testing.assert_close(head(features, SIZE, other_padding, mask), before, **rounding)
    torch.testing.assert_close(head(features, SIZE, tokens[:, :3], mask[:, :3]), before, **rounding)
    assert (head(features, SIZE, tokens.flip(-1), mask) - before).abs().max() > 0.01


def test_without_text_nothing_is_read_and_an_image_beside_it_still_reads(head, features, text):
    tokens, mask = text
    mask[0] = False
    read = head.text_block.attentions[0](features[9].flatten(1, 2), tokens, mask)
    assert (read[0] == 0).all()
    assert (read[1] != 0).any()
    logits = head(features, SIZE, tokens, mask)
    torch.testing.assert_close(logits[0], head(features, SIZE, tokens + 1, mask)[0])
    logits.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in head.parameters())


@torch.no_grad()
def test_an_image_from_maps_gets_what_its_channels_joined_get(head, features, text):
    tokens, mask = text
    maps = {block: list(x[0].half().split(2, -1)) for block, x in features.items()}
    joined = {block: x[:1].half().float() for block, x in features.items()}
    expected = head(joined, SIZE, tokens[:1], mask[:1])[0]
    torch.testing.assert_close(logits_of(head, maps, tokens[0], mask[0]), expected)


def test_maps_of_eight_bits_are_stacked_as_their_activations():
    values = torch.arange(-6, 6, dtype=torch.int8).reshape(2, 2, 3)
    maps = {4: [QuantisedMap(values, torch.tensor([1.0, 0.5, 2.0])), torch.ones(2, 2, 1, dtype=torch.float16)]}
    stacked = stack_maps([maps, maps])[4]
    assert stacked.dtype == torch.float32
    assert stacked.shape == (2, 2, 2, 4)
    assert stacked[1, 0, 1].tolist() == [-3.0, -1.0, -2.0, 1.0]


def test_blocks_that_cannot_share_a_projection_are_named():
    spec = HeadSpec({2: 4, 5: 6, 7: 10, 9: 8}, n_classes=2, text_dim=5, width=8, n_attention_heads=2)
    with pytest.raises(ConfigError) as caught:
        PaperHead(spec)
    message = str(caught.value)
    assert "share one projection to 8 channels" in message
    assert "block 5 has 6, block 7 has 10. Leave some out with --blocks" in message
    assert "block 2" not in message
    assert "block 9" not in message


def test_attention_is_told_of_both_attentions_of_every_block(head, features, text):
    tokens, mask = text[0][0], text[1][0]
    maps = {block: [of[0]] for block, of in features.items()}
    shares = head.attention_maps(HeadInput(maps, SIZE, tokens, mask), torch.eye(4))
    assert head.attention_names[:3] == ("block 2, first", "block 2, second", "block 5, first")
    assert shares.shape == (len(head.attention_names), 4, *SIZE) == (8, 4, 12, 16)
    torch.testing.assert_close(shares.sum(1), torch.ones(8, *SIZE))
    assert not shares[:, 3].any()
    deepest = head.project_deepest(features[2][:1]).flatten(1, 2)
    first, second = head.text_block.attentions
    read = deepest + first(deepest, tokens[None], mask[None])
    for place, (attention, pixels) in enumerate(((first, deepest), (second, read))):
        small = attention.weights(pixels, tokens[None], mask[None])[0].mean(0).T.view(1, 4, 3, 4)
        torch.testing.assert_close(shares[place], F.interpolate(small, SIZE, mode="bilinear")[0])


def test_weights_are_those_that_give_the_attentions_values(head, text):
    attention = head.text_block.attentions[0]
    pixels = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(4))
    weights = attention.weights(pixels, *text)
    read = weights @ attention._heads(attention.to_value(text[0]))
    torch.testing.assert_close(attention.to_out(read.transpose(1, 2).flatten(2)), attention(pixels, *text))
    assert not attention.weights(pixels, text[0], torch.zeros(2, 4, dtype=torch.bool)).any()
