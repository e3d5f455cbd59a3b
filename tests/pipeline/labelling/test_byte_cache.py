"""The last used values stay, up to a number of bytes."""

from textdiff.pipeline.labelling.byte_cache import ByteCache


def test_what_was_not_used_for_longest_goes_first():
    cache = ByteCache(10)
    for key, size in (("a", 4), ("b", 4)):
        cache.put(key, key.upper(), size)
    assert cache.get("a") == "A"
    cache.put("c", "C", 4)
    assert [cache.get(key) for key in "abc"] == ["A", None, "C"]
    assert cache.size_bytes == 8


def test_a_value_takes_the_place_of_the_keys_former_one():
    cache = ByteCache(10)
    cache.put("a", 1, 6)
    cache.put("a", 2, 9)
    assert (cache.get("a"), cache.size_bytes) == (2, 9)


def test_one_value_stays_however_large_it_is():
    cache = ByteCache(10)
    cache.put("a", 1, 3)
    cache.put("b", 2, 1000)
    assert (cache.get("a"), cache.get("b"), cache.size_bytes) == (None, 2, 1000)
