from dataclasses import replace

import pytest
import torch

from textdiff.stages.features.position import FULL_IMAGE, Region
from textdiff.stages.features.sampling import gather
from textdiff.stages.heads.attention import TextAttention
from textdiff.stages.heads.base import HeadSpec
from textdiff.stages.heads.input import HeadInput
from textdiff.stages.heads.pixel import PixelHead
from textdiff.stages.seeds import named_generator, named_seed

SPEC = HeadSpec(channels={2: 6, 5: 4}, n_classes=3, text_dim=8, width=16, n_attention_heads=4)
SIZE = (8, 8)


@pytest.fixture
def head():
    torch.manual_seed(0)
    head = PixelHead(SPEC).eval()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return head


@pytest.fixture
def maps():
    generator = torch.Generator().manual_seed(1)
    return {
        2: [torch.randn(4, 4, 3, generator=generator) for _ in range(2)],
        5: [torch.randn(8, 8, 2, generator=generator) for _ in range(2)],
    }


@pytest.fixture
def text():
    return torch.randn(5, 8, generator=torch.Generator().manual_seed(2)), torch.tensor([1, 1, 1, 0, 0]).bool()


def logits_of(head, maps, *text):
    (logits,) = head.segment(HeadInput(maps, SIZE, *text))
    return logits


def sampled(head, maps, text, pixels, region=FULL_IMAGE):
    features = {block: x[None] for block, x in gather(maps, pixels, SIZE).items()}
    return head(head.inputs(features), pixels[None], SIZE, text[0][None], text[1][None], regions=[region])[0]


def test_sampled_pixels_get_the_logits_that_the_whole_image_gets(head, maps, text):
    pixels = torch.tensor([0, 9, 31, 63])
    for region in (FULL_IMAGE, Region(0.5, -0.25, 0.5, 1.5)):
        whole = logits_of(head, maps, *text, region)
        assert whole.shape == (3, 8, 8)
        here = sampled(head, maps, text, pixels, region)
        torch.testing.assert_close(here, whole.flatten(1).T[pixels], atol=1e-4, rtol=1e-4)
    assert (logits_of(head, maps, *text) - whole).abs().max() > 0.01


def test_padding_of_the_text_has_no_influence(head, maps, text):
    tokens, mask = text
    other = tokens.clone()
    other[~mask] = 100.0
    torch.testing.assert_close(logits_of(head, maps, other, mask), logits_of(head, maps, tokens, mask))
    torch.testing.assert_close(logits_of(head, maps, tokens[:3], mask[:3]), logits_of(head, maps, tokens, mask))


def test_the_text_changes_the_logits(head, maps, text):
    tokens, mask = text
    change = logits_of(head, maps, tokens.flip(1), mask) - logits_of(head, maps, tokens, mask)
    assert change.abs().max() > 0.01


def test_without_text_the_null_token_is_read_and_with_text_it_is_not(head, maps, text):
    tokens, mask = text
    nothing = torch.zeros_like(mask)
    before, before_without = logits_of(head, maps, tokens, mask), logits_of(head, maps, tokens, nothing)
    assert torch.isfinite(before_without).all()
    with torch.no_grad():
        head.attention.null_token.add_(1.0)
    torch.testing.assert_close(logits_of(head, maps, tokens, mask), before)
    assert (logits_of(head, maps, tokens, nothing) - before_without).abs().max() > 0.01


def test_attention_is_torchs_multi_head_attention():
    torch.manual_seed(0)
    ours = TextAttention(width=16, text_dim=8, n_attention_heads=4, n_out=16)
    theirs = torch.nn.MultiheadAttention(16, 4, bias=False, kdim=8, vdim=8, batch_first=True)
    with torch.no_grad():
        theirs.q_proj_weight.copy_(ours.to_query.weight)
        theirs.k_proj_weight.copy_(ours.to_key.weight)
        theirs.v_proj_weight.copy_(ours.to_value.weight)
        theirs.out_proj.weight.copy_(ours.to_out.weight)
        ours.to_out.bias.zero_()
    pixels, tokens = torch.randn(2, 7, 16), torch.randn(2, 5, 8)
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]]).bool()
    normed_pixels, normed_tokens = ours.norm_pixels(pixels), ours.norm_text(tokens)
    expected, _ = theirs(normed_pixels, normed_tokens, normed_tokens, key_padding_mask=~mask)
    torch.testing.assert_close(ours(pixels, tokens, mask), expected, atol=1e-5, rtol=1e-5)


def test_after_training_the_pixels_of_one_image_read_what_they_read_among_several_images():
    torch.manual_seed(0)
    attention = TextAttention(width=16, text_dim=8, n_attention_heads=4, n_out=6).eval()
    torch.nn.init.normal_(attention.null_token)
    pixels, tokens = torch.randn(3, 7, 16), 3 * torch.randn(3, 5, 8)
    mask = torch.tensor([[1, 1, 1, 1, 0], [0, 1, 0, 0, 1], [0] * 5]).bool()
    each = [
        attention(*one).expand(1, 7, -1) for one in zip(pixels.split(1), tokens.split(1), mask.split(1), strict=True)
    ]
    torch.testing.assert_close(torch.cat(each), attention(pixels, tokens, mask), atol=1e-5, rtol=1e-5)
    assert (each[0] - each[1]).abs().max() > 0.1


def test_standardised_features_have_mean_0_and_spread_1(head):
    features = torch.randn(4000, 6, generator=torch.Generator().manual_seed(3)) * 7 + 5
    features[:, 2] = 3.0  # a dead channel must not become infinite
    head.standardise(2, features)
    scaled = (features - head.get_buffer("mean_2")) * head.get_buffer("scale_2")
    torch.testing.assert_close(scaled.mean(0), torch.zeros(6), atol=1e-3, rtol=0)
    assert scaled.std(0)[[0, 1, 3, 4, 5]].tolist() == pytest.approx([1] * 5, abs=1e-2)
    assert torch.isfinite(head.standardised(2, features)).all()


def test_named_seeds_depend_on_every_name_and_on_nothing_else():
    assert named_seed(0, "a", 1) == named_seed(0, "a", 1)
    assert len({named_seed(0, "a", 1), named_seed(1, "a", 1), named_seed(0, "b", 1), named_seed(0, "a", 2)}) == 4
    assert torch.equal(
        torch.rand(3, generator=named_generator(5, "x")), torch.rand(3, generator=named_generator(5, "x"))
    )


def test_where_no_image_has_a_text_all_read_what_each_would_read_alone():
    torch.manual_seed(0)
    attention = TextAttention(width=16, text_dim=8, n_attention_heads=4, n_out=6)
    torch.nn.init.normal_(attention.null_token)
    pixels, tokens = torch.randn(2, 7, 16), torch.randn(2, 5, 8)
    with_text = torch.tensor([[0] * 5, [1] * 5]).bool()
    nothing = attention(pixels, tokens, torch.zeros_like(with_text))
    torch.testing.assert_close(nothing[0], attention(pixels, tokens, with_text)[0])
    torch.testing.assert_close(nothing[1], nothing[0])


def test_a_head_without_places_gives_pixels_alike_the_same_answer(text):
    torch.manual_seed(0)
    alike = {2: [torch.ones(4, 4, 6)], 5: [torch.ones(8, 8, 4)]}
    for position in (True, False):
        head = PixelHead(replace(SPEC, position=position)).eval()
        found = logits_of(head, alike, *text)
        assert bool((found - found[:, :1, :1]).abs().max() < 1e-5) is not position


def test_the_text_scales_the_place_by_itself(text):
    torch.manual_seed(0)
    alike = {2: [torch.ones(4, 4, 6)], 5: [torch.ones(8, 8, 4)]}
    head = PixelHead(SPEC).eval()
    width = SPEC.width
    with torch.no_grad():
        head.attention.to_out.weight.zero_()
        head.attention.to_out.bias.copy_(torch.cat([torch.zeros(width), -torch.ones(width), torch.ones(width)]))
    found = logits_of(head, alike, *text)
    torch.testing.assert_close(found, found[:, :1, :1].expand_as(found))
    with torch.no_grad():
        head.attention.to_out.bias.zero_()
    placed = logits_of(head, alike, *text)
    assert (placed - placed[:, :1, :1]).abs().max() > 0.01


def test_attention_weights_are_those_of_torchs_multi_head_attention():
    torch.manual_seed(3)
    attention = TextAttention(width=8, text_dim=6, n_attention_heads=2, n_out=8)
    torch.nn.init.normal_(attention.null_token)
    pixels, tokens = torch.randn(2, 5, 8), torch.randn(2, 4, 6)
    mask = torch.tensor([[1, 1, 1, 0], [0, 0, 0, 0]]).bool()
    reference = torch.nn.MultiheadAttention(8, 2, bias=False, kdim=6, vdim=6, batch_first=True)
    reference.q_proj_weight, reference.k_proj_weight = attention.to_query.weight, attention.to_key.weight
    _, expected = reference(
        attention.norm_pixels(pixels), attention.norm_text(tokens), attention.norm_text(tokens),
        key_padding_mask=~mask, average_attn_weights=False,
    )  # fmt: skip
    found = attention.weights(pixels, tokens, mask)
    torch.testing.assert_close(found[0], expected[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[0].sum(-1), torch.ones(2, 5))
    assert not found[1].any()


def test_attention_to_a_word_is_the_sum_over_its_tokens(head, maps, text):
    x, everything = HeadInput(maps, SIZE, *text), torch.eye(5)
    alone = head.attention_maps(x, everything)
    together = head.attention_maps(x, torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1], [0, 0]]))
    assert alone.shape == (len(head.attention_names), 5, *SIZE) == (4, 5, 8, 8)
    torch.testing.assert_close(together, torch.stack([alone[:, 0] + alone[:, 2], alone[:, 1] + alone[:, 3]], 1))
    torch.testing.assert_close(together.sum(1), torch.ones(4, *SIZE))
    assert together.std() > 0.01
    elsewhere = head.attention_maps(replace(x, region=Region(0.5, 0, 0.5, 1)), everything)
    assert (elsewhere - alone).abs().max() > 1e-3
