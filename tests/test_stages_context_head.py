"""The context head: cells of four pixels, neighbours, and crops that are what the whole image is."""

import pytest
import torch

from textdiff.stages.context_head import ContextHead
from textdiff.stages.crops import Crop, cut
from textdiff.stages.head import HeadSpec
from textdiff.stages.place import WHOLE

SIZE = (96, 96)
SPEC = HeadSpec(channels={2: 6, 5: 4}, n_classes=3, text_dim=8, width=16, n_heads=4, fine=(5,))


@pytest.fixture
def head():
    torch.manual_seed(0)
    head = ContextHead(SPEC).eval()
    for name, parameter in head.named_parameters():
        if not name.startswith("mix"):
            torch.nn.init.normal_(parameter, std=0.2)
        elif parameter.ndim == 4:  # such that five layers and their ReLUs keep the size of what goes through
            torch.nn.init.normal_(parameter, std=0.12)
    return head


@pytest.fixture
def maps():
    generator = torch.Generator().manual_seed(1)
    return {
        2: [torch.randn(24, 24, 3, generator=generator) for _ in range(2)],
        5: [torch.randn(96, 96, 2, generator=generator) for _ in range(2)],
    }


@pytest.fixture
def text():
    return torch.randn(5, 8, generator=torch.Generator().manual_seed(2)), torch.tensor([1, 1, 1, 0, 0]).bool()


def batched(features):
    return {block: map_[None] for block, map_ in features.items()}


@torch.no_grad()
def test_a_crop_gets_the_logits_of_the_whole_image_where_the_convolutions_end_inside_it(head, maps, text):
    whole, crop = head.segment(maps, SIZE, *text), Crop(top=16, left=32, height=64, width=64)
    here = head(
        batched(cut(maps, crop, SIZE)),
        (64, 64),
        text[0][None],
        text[1][None],
        windows=[crop.window(SIZE, WHOLE)],
    )[0]
    inside = slice(24, 40)  # the reach is 7 cells, and a point of the coarse map at its border
    expected = whole[:, 16:80, 32:96]
    torch.testing.assert_close(here[:, inside, inside], expected[:, inside, inside], atol=1e-4, rtol=1e-4)
    assert (here - expected).abs().max() > 0.01  # at the border the neighbours are missing
    elsewhere = head(batched(cut(maps, crop, SIZE)), (64, 64), text[0][None], text[1][None])[0]
    assert (elsewhere[:, inside, inside] - expected[:, inside, inside]).abs().max() > 0.01  # without its place


@torch.no_grad()
def test_the_four_pixels_of_a_cell_keep_their_places(text):
    head = ContextHead(HeadSpec({5: 1}, n_classes=2, text_dim=8, width=4, n_heads=2, fine=(5,))).eval()
    for parameter in head.parameters():
        parameter.zero_()
    head.get_parameter("projections.5.weight").copy_(torch.eye(4))
    for place, layer in enumerate(head.mix):
        if isinstance(layer, torch.nn.Conv2d):
            layer.weight[..., 1, 1] = torch.eye(4)
            head.mix[place + 1].weight.fill_(1.0)
    head.get_parameter("classifier.0.weight").fill_(1.0)
    head.get_parameter("classifier.2.weight")[4:, :, 0, 0] = torch.eye(4)  # of the second class
    map_ = torch.rand(6, 10, 1)
    found = head.segment({5: [map_]}, (6, 10), *text)
    torch.testing.assert_close(found[1], map_[..., 0], atol=1e-4, rtol=1e-4)
    assert not found[0].any()


@torch.no_grad()
def test_a_cell_reads_standardised_activations(head, maps, text):
    flat = {block: torch.cat(of, -1).flatten(0, 1) for block, of in maps.items()}
    changed = {block: [3 * map_ - 50 for map_ in of] for block, of in maps.items()}
    for block, features in flat.items():
        head.standardise(block, features)
    own = head.segment(maps, SIZE, *text)
    for block, features in flat.items():
        head.standardise(block, 3 * features - 50)
    torch.testing.assert_close(head.segment(changed, SIZE, *text), own, atol=1e-2, rtol=1e-3)
    assert (head.segment(maps, SIZE, *text) - own).abs().max() > 1


@torch.no_grad()
def test_turning_changes_which_neighbour_is_where_and_nothing_else(head, maps, text):
    given = batched({block: torch.cat(of, -1) for block, of in maps.items()}), SIZE, text[0][None], text[1][None]
    found = [head(*given, turn=turn) for turn in range(8)]
    assert all((found[turn] - found[0]).abs().max() > 0.01 for turn in range(1, 8))
    for layer in head.mix:  # a kernel that is the same in all directions does not see how the picture is turned
        if isinstance(layer, torch.nn.Conv2d):
            layer.weight.copy_(layer.weight.mean((-2, -1), keepdim=True).expand_as(layer.weight))
    same = [head(*given, turn=turn) for turn in range(8)]
    for one in same[1:]:
        torch.testing.assert_close(one, same[0], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_text_changes_the_logits_and_its_padding_does_not(head, maps, text):
    tokens, mask = text
    own = head.segment(maps, SIZE, tokens, mask)
    assert (head.segment(maps, SIZE, tokens.flip(0), mask) - own).abs().max() > 0.01
    assert (head.segment(maps, SIZE, tokens, torch.zeros(5, dtype=torch.bool)) - own).abs().max() > 0.01
    torch.testing.assert_close(head.segment(maps, SIZE, tokens[:3], mask[:3]), own, atol=1e-5, rtol=1e-5)


def test_attention_of_the_pixels_of_a_cell_is_one_and_adds_up_to_one(head, maps, text):
    found = head.attend(head.prepare(maps), SIZE, *text, torch.eye(5))
    assert found.shape == (len(head.readings), 5, *SIZE)
    torch.testing.assert_close(found.sum(1), torch.ones(4, *SIZE))
    assert torch.equal(found[..., ::2, ::2], found[..., 1::2, 1::2])
    assert found.std() > 0.01


@torch.no_grad()
def test_each_image_can_be_standardised_by_units_of_its_own(head, maps, text):
    mean, scale = torch.randn(2, 6), torch.rand(2, 6) + 0.5
    given = batched({block: torch.cat(of, -1) for block, of in maps.items()})
    two = {block: map_.expand(2, -1, -1, -1) for block, map_ in given.items()}
    texts = text[0].expand(2, -1, -1), text[1].expand(2, -1)
    found = head(two, SIZE, *texts, units=head.units | {2: (mean, scale)})
    for place in range(2):
        head.get_buffer("mean_2").copy_(mean[place])
        head.get_buffer("scale_2").copy_(scale[place])
        torch.testing.assert_close(found[place], head.segment(maps, SIZE, *text), atol=1e-4, rtol=1e-4)
