import pytest
import torch
import torch.nn.functional as F

from textdiff.stages.features.compression import quantise
from textdiff.stages.features.sampling import Interpolation, QuantisedMap, dense, gather, sample_pixels

IGNORE = 255


def interpolate(map_, pixels, size):
    return gather({0: [map_]}, pixels, size)[0]


def random_map(y, x, channels, seed=0):
    return torch.randn(y, x, channels, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (8, 12), (16, 24), (1, 1)])
def test_interpolation_is_torchs_bilinear_one_at_every_pixel(shape):
    size = (8, 12)
    map_ = random_map(*shape, 6)
    whole = F.interpolate(map_.permute(2, 0, 1)[None], size=size, mode="bilinear", align_corners=False)[0]
    sampled = interpolate(map_, torch.arange(8 * 12), size)
    torch.testing.assert_close(sampled, whole.flatten(1).T, atol=1e-6, rtol=1e-6)


def test_maps_of_several_sizes_are_enlarged_and_summed_a_part_at_a_time():
    size, maps = (8, 12), [random_map(*shape, 6, seed) for seed, shape in enumerate([(4, 4), (3, 5), (16, 24), (1, 1)])]
    enlarged = Interpolation(maps, size)
    expected = sum(interpolate(map_, torch.arange(96), size) for map_ in maps)
    found = torch.cat([enlarged.at(slice(0, 40)), enlarged.at(slice(40, 96))])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_at_its_own_size_a_map_is_read_as_it_is():
    map_ = random_map(4, 6, 3).half()
    assert torch.equal(interpolate(map_, torch.tensor([0, 7, 23]), (4, 6)), map_.reshape(24, 3)[[0, 7, 23]])


def test_half_precision_maps_are_interpolated_to_half_precision():
    map_ = random_map(4, 4, 8)
    pixels = torch.arange(256)
    exact, half = interpolate(map_, pixels, (16, 16)), interpolate(map_.half(), pixels, (16, 16))
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), exact, atol=5e-3, rtol=0)


def test_gather_joins_the_timesteps_of_a_block_in_order():
    first, second = random_map(2, 2, 3, 0), random_map(2, 2, 3, 1)
    gathered = gather({7: [first, second]}, torch.tensor([3]), (2, 2))
    assert gathered[7].tolist() == [[*first[1, 1].tolist(), *second[1, 1].tolist()]]


def quantised_map(y, x, channels, seed=0):
    values, scale = quantise(random_map(y, x, channels, seed)[None])
    return QuantisedMap(values[0], scale[0])


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (8, 12), (16, 24), (1, 1)])
@pytest.mark.parametrize("n_pixels", [2, 96])
def test_eight_bits_are_interpolated_as_if_they_had_been_turned_to_floats_first(shape, n_pixels):
    map_, size = quantised_map(*shape, 6), (8, 12)
    pixels = torch.arange(96)[-n_pixels:]  # fewer points than the map has, and more
    found = interpolate(map_, pixels, size)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, interpolate(map_.dequantise(), pixels, size), atol=1e-6, rtol=1e-6)


def test_gather_joins_quantised_maps_too():
    first, second = quantised_map(2, 2, 3, 0), quantised_map(2, 2, 3, 1)
    gathered = gather({7: [first, second]}, torch.tensor([3]), (2, 2))[7]
    torch.testing.assert_close(gathered[0], torch.cat([first.dequantise()[1, 1], second.dequantise()[1, 1]]))


def test_dense_is_values_times_scale_and_leaves_floats_alone():
    map_ = QuantisedMap(torch.tensor([[[3, -4]]], dtype=torch.int8), torch.tensor([0.5, 2]))
    assert dense(map_).tolist() == [[[1.5, -8]]]
    assert map_.values.tolist() == [[[3, -4]]]
    floats = random_map(2, 2, 3).half()
    assert dense(floats) is floats


def test_only_labelled_pixels_are_drawn_and_all_of_them():
    labels = torch.full((5, 5), IGNORE, dtype=torch.uint8)
    labels[1, 2], labels[4, 0] = 0, 1
    drawn = sample_pixels(labels, 200, IGNORE, torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) == {1 * 5 + 2, 4 * 5}


def test_nothing_is_drawn_where_nothing_is_labelled():
    labels = torch.full((5, 5), IGNORE, dtype=torch.uint8)
    assert len(sample_pixels(labels, 10, IGNORE, torch.Generator())) == 0
