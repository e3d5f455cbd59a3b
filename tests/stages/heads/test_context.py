"""The context head: cells of four pixels, neighbours, and crops that are what the whole image is."""

import pytest
import torch
import torch.nn.functional as F

from textdiff.stages.features.crops import Crop, cut, turned
from textdiff.stages.features.position import FULL_IMAGE
from textdiff.stages.features.sampling import COLOURS, FILTERS
from textdiff.stages.heads.base import HeadSpec
from textdiff.stages.heads.context import ContextHead, Layer, seen
from textdiff.stages.heads.input import HeadInput

SIZE = (192, 192)
SPEC = HeadSpec(channels={2: 6, 5: 4}, n_classes=3, text_dim=8, width=16, n_attention_heads=4, fine=(5,))


@pytest.fixture
def head():
    torch.manual_seed(0)
    head = ContextHead(SPEC).eval()
    for name, parameter in head.named_parameters():
        if name.startswith("mix") and parameter.ndim == 4:  # such that the layers keep the size of what goes through
            torch.nn.init.kaiming_normal_(parameter)
        elif not name.startswith("mix"):
            torch.nn.init.normal_(parameter, std=0.2)
    return head


@pytest.fixture
def maps():
    generator = torch.Generator().manual_seed(1)
    return {
        2: [torch.randn(48, 48, 3, generator=generator) for _ in range(2)],
        5: [torch.randn(192, 192, 2, generator=generator) for _ in range(2)],
    }


@pytest.fixture
def text():
    return torch.randn(5, 8, generator=torch.Generator().manual_seed(2)), torch.tensor([1, 1, 1, 0, 0]).bool()


def logits_of(head, maps, *text):
    (logits,) = head.segment(HeadInput(maps, SIZE, *text))
    return logits


def batched(features):
    return {block: map_[None] for block, map_ in features.items()}


def pass_cells_through(head):
    """Make the mixing give what it is given, where that is positive."""
    width = head.spec.width
    for parameter in head.mix.parameters():
        torch.nn.init.constant_(parameter, float(parameter.ndim == 1))  # normalisations scale by 1
    for name, parameter in head.mix.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.zeros_(parameter)
    for layer in (head.mix[2].before, head.mix[2].after[0], head.mix[2].after[1]):
        layer[0].weight[:, :width, 1, 1] = torch.eye(width)


@torch.no_grad()
def test_a_crop_gets_the_logits_of_the_whole_image_where_the_convolutions_end_inside_it(head, maps, text):
    whole, crop = logits_of(head, maps, *text), Crop(top=16, left=32, height=160, width=160)
    features = batched(head.inputs(cut(maps, crop, SIZE)))
    texts = text[0][None], text[1][None]
    here = head(features, (160, 160), *texts, regions=[crop.region(SIZE, FULL_IMAGE)])[0]
    inside = slice(64, 96)  # the reach is about 24 cells, and a point of the coarse map at its border
    expected = whole[:, 16:176, 32:192]
    torch.testing.assert_close(here[:, inside, inside], expected[:, inside, inside], atol=1e-4, rtol=1e-4)
    assert (here - expected).abs().max() > 0.01  # at the border the neighbours are missing
    elsewhere = head(features, (160, 160), *texts)[0]
    assert (elsewhere[:, inside, inside] - expected[:, inside, inside]).abs().max() > 0.01  # without its place


@torch.no_grad()
def test_the_four_pixels_of_a_cell_keep_their_places(text):
    head = ContextHead(HeadSpec({5: 1}, n_classes=2, text_dim=8, width=4, n_attention_heads=2, fine=(5,))).eval()
    for parameter in head.parameters():
        parameter.zero_()
    pass_cells_through(head)
    reading = head.get_parameter("projections.5.weight")
    reading[:, 0, 1:3, 1:3] = torch.eye(4).reshape(4, 2, 2)
    head.get_parameter("classifier.0.weight")[4:, :, 0, 0] = torch.eye(4)  # of the second class
    map_ = torch.rand(6, 10, 1)
    found = head.segment(HeadInput({5: [map_]}, (6, 10), *text))[0]
    torch.testing.assert_close(found[1], map_[..., 0], atol=1e-4, rtol=1e-4)
    assert not found[0].any()


@torch.no_grad()
def test_a_cell_reads_standardised_activations(head, maps, text):
    flat = {block: torch.cat(of, -1).flatten(0, 1) for block, of in maps.items()}
    changed = {block: [3 * map_ - 50 for map_ in of] for block, of in maps.items()}
    for block, features in flat.items():
        head.standardise(block, features)
    own = logits_of(head, maps, *text)
    for block, features in flat.items():
        head.standardise(block, 3 * features - 50)
    torch.testing.assert_close(logits_of(head, changed, *text), own, atol=1e-2, rtol=1e-3)
    assert (logits_of(head, maps, *text) - own).abs().max() > 1


def test_of_the_filters_the_colours_are_read():
    head = ContextHead(HeadSpec({FILTERS: 60}, n_classes=2, text_dim=8, width=4, n_attention_heads=2, fine=(FILTERS,)))
    features = torch.randn(5, 60)
    head.standardise(FILTERS, 3 * features)
    read = head.inputs({FILTERS: seen({FILTERS: [features]})[FILTERS][0]})[FILTERS]
    torch.testing.assert_close(read, head.standardised(FILTERS, features)[:, COLOURS])
    assert read.shape == (5, 3)


@torch.no_grad()
@pytest.mark.parametrize("turn", range(1, 8))
def test_a_turned_picture_is_the_picture_turned_where_neighbours_count_for_nothing(turn, head, maps, text):
    pass_cells_through(head)
    reading = head.get_parameter("projections.5.weight")
    reading.copy_(reading.mean((-2, -1), keepdim=True).expand_as(reading))
    classifier = head.get_parameter("classifier.0.weight").unflatten(0, (3, 4))
    classifier.copy_(classifier.mean(1, keepdim=True).expand_as(classifier))  # the four pixels of a cell are one
    head.get_parameter("classifier.0.bias").zero_()
    inputs = head.prepare(maps)
    texts = text[0][None], text[1][None]
    upright = head(batched(inputs), SIZE, *texts)[0]
    sideways = batched({block: turned(map_, turn) for block, map_ in inputs.items()})
    expected = turned(upright.movedim(0, -1), turn).movedim(-1, 0)
    torch.testing.assert_close(head(sideways, SIZE, *texts, turns=[turn])[0], expected, atol=1e-4, rtol=1e-4)
    assert (head(sideways, SIZE, *texts)[0] - expected).abs().max() > 0.01  # where it is not said, places are wrong


@torch.no_grad()
def test_pictures_of_a_batch_are_turned_each_in_its_own_way(head, maps, text):
    inputs = head.prepare(maps)
    two = {block: torch.stack([map_, turned(map_, 5)]) for block, map_ in inputs.items()}
    texts = text[0].expand(2, -1, -1), text[1].expand(2, -1)
    both = head(two, SIZE, *texts, regions=[FULL_IMAGE, FULL_IMAGE], turns=[0, 5])
    for place, turn in enumerate((0, 5)):
        alone = batched({block: map_[place] for block, map_ in two.items()})
        found = head(alone, SIZE, text[0][None], text[1][None], turns=[turn])[0]
        torch.testing.assert_close(both[place], found, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_sides_need_not_divide_by_more_than_a_cell(text):
    torch.manual_seed(0)
    head = ContextHead(HeadSpec({5: 1}, n_classes=2, text_dim=8, width=4, n_attention_heads=2, fine=(5,))).eval()
    assert head.segment(HeadInput({5: [torch.rand(14, 22, 1)]}, (14, 22), *text)).shape == (1, 2, 14, 22)


@torch.no_grad()
def test_the_text_changes_the_logits_and_its_padding_does_not(head, maps, text):
    tokens, mask = text
    own = logits_of(head, maps, tokens, mask)
    assert (logits_of(head, maps, tokens.flip(0), mask) - own).abs().max() > 0.01
    assert (logits_of(head, maps, tokens, torch.zeros(5, dtype=torch.bool)) - own).abs().max() > 0.01
    torch.testing.assert_close(logits_of(head, maps, tokens[:3], mask[:3]), own, atol=1e-5, rtol=1e-5)


def test_attention_of_the_pixels_of_a_cell_is_one_and_adds_up_to_one(head, maps, text):
    found = head.attention_maps(HeadInput(maps, SIZE, *text), torch.eye(5))
    assert found.shape == (len(head.attention_names), 5, *SIZE)
    torch.testing.assert_close(found.sum(1), torch.ones(4, *SIZE))
    assert torch.equal(found[..., ::2, ::2], found[..., 1::2, 1::2])
    assert found.std() > 0.01


@pytest.mark.parametrize("size", [(6, 8), (5, 7), (1, 2)])
def test_a_trained_layer_is_its_parts_one_after_another_and_coarse_channels_are_as_if_enlarged_first(size):
    torch.manual_seed(0)
    layer = Layer(4 + 6, 5)
    layer(torch.randn(8, 10, 9, 9) * 3 + 1)  # moves the running mean and variance
    torch.nn.init.normal_(layer[1].weight)
    torch.nn.init.normal_(layer[1].bias)
    layer.eval()
    fine, coarse = torch.randn(2, 4, *size), torch.randn(2, 6, *(-(-side // 2) for side in size))
    joined = torch.cat([fine, F.interpolate(coarse, size, mode="nearest")], 1)
    expected = torch.nn.Sequential(*layer)(joined)
    assert expected.std() > 0.1
    torch.testing.assert_close(layer(fine, coarse), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer(joined), expected, atol=1e-5, rtol=1e-5)
