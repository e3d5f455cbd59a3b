"""What holds for every table, every manifest and every text (side words: test_pipeline_side_words.py)."""

import csv
import io
import itertools
import json
from dataclasses import fields, replace
from functools import cache

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from textdiff.cache.format.manifest import (
    MANIFEST,
    DerivedShardRecord,
    Manifest,
    ProjectionRecord,
    RowKey,
    Unit,
    read_manifest,
    write_manifest,
)
from textdiff.cache.format.shard import ShardRecord
from textdiff.cache.format.spec import LOCATION_FIELDS, UNET_FIELDS, FeatureSpec, TextSpec
from textdiff.cache.storage.atomic import canonical_json, parse_json
from textdiff.errors import CacheCorruptError, DataError
from textdiff.pipeline.data.classes import Classes
from textdiff.pipeline.data.layouts import list_entries
from textdiff.pipeline.data.tables import read_table
from textdiff.stages.text.loading import load_text_encoder

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

cells = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), max_size=12) | st.sampled_from(
    ["a,b", 'the "round" one', "two\nlines", "semi;colon", "", "naïve 肺", "=1+1"]
)
numbers = st.integers(-(2**63), 2**63)
words = st.text(max_size=12)
counts = st.integers(0, 2**31)


@quick
@given(st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=6), st.sampled_from(",;\t"))
def test_a_table_comes_back_as_it_was_written(tmp_path, rows, delimiter):
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter).writerows([["id", "image", "text"], *rows])
    (tmp_path / "a.csv").write_text(file.getvalue(), encoding="utf-8")
    table = read_table(tmp_path / "a.csv")
    found = {row.number: [*row.cells.values()] for row in table.rows}
    assert found == {number: row for number, row in enumerate(rows, start=2) if any(row)}
    assert (table.columns, table.problems) == (("id", "image", "text"), ())


@quick
@given(st.text() | st.lists(st.lists(cells, max_size=7)).map(lambda rows: "\n".join(map(",".join, rows))))
def test_any_text_is_a_manifest_or_is_refused(tmp_path, content):
    (tmp_path / "manifest.csv").write_bytes(content.encode("utf-8", "surrogatepass"))
    listing = list_entries(tmp_path)
    assert listing.problems
    assert all(str(tmp_path) in problem for problem in listing.problems)
    assert listing.entries == []


specs = st.builds(
    FeatureSpec,
    window=st.none() | st.tuples(st.integers(-32768, 0), st.integers(1, 65535)),
    seed=numbers,
    noise_draws=counts,
    image_size=counts,
    rows_per_shard=counts,
    tile_overlap=counts,
)
paths = st.from_regex(r"[a-z]{1,6}(/[a-z0-9]{1,3}){0,2}/c/[0-9]{1,3}(/0){1,3}", fullmatch=True)
shards = st.builds(ShardRecord, path=paths, size_bytes=counts, crc32c=words)
few = st.lists(counts, min_size=1, max_size=3).map(tuple)
units = st.builds(
    Unit, rows=few, timesteps=few, blocks=few, conditions=st.dictionaries(words, words | counts, max_size=2),
    shards=st.lists(shards, max_size=2).map(tuple),
)  # fmt: skip
manifests = st.builds(
    Manifest,
    features=specs,
    rows=st.lists(st.none() | st.builds(RowKey), max_size=3).map(tuple),
    block_shapes=st.dictionaries(counts, st.tuples(counts, counts, counts), max_size=2),
    units=st.lists(units, max_size=3, unique_by=lambda unit: (unit.rows, unit.timesteps, unit.blocks)).map(tuple),
    texts=st.none() | st.builds(TextSpec),
    classes=st.just({"classes": {"0": "a", "1": "b"}, "ignore": None}),
    derived_shards=st.lists(st.builds(DerivedShardRecord, shard=shards), max_size=2).map(tuple),
    digests=st.dictionaries(words, words, max_size=2),
    metadata=st.dictionaries(
        st.from_regex(r"([a-z]{1,6}/([a-z0-9]{1,3}/){0,2})?zarr\.json", fullmatch=True), words, max_size=2
    ),
    projections=st.lists(st.builds(ProjectionRecord, shard=shards), max_size=1).map(tuple),
)


@pytest.mark.slow
@quick
@given(manifests)
def test_a_manifest_comes_back_as_it_was_written_in_the_same_bytes(tmp_path, manifest):
    write_manifest(tmp_path, manifest)
    content = (tmp_path / MANIFEST).read_bytes()
    found = read_manifest(tmp_path)
    assert replace(found, units=()) == replace(manifest, units=())
    assert {*map(canonical_json, found.units)} == {*map(canonical_json, manifest.units)}
    write_manifest(tmp_path, replace(manifest, units=manifest.units[::-1]))
    assert (tmp_path / MANIFEST).read_bytes() == content


@quick
@given(manifests, st.data())
def test_a_manifest_with_any_bit_changed_is_refused(tmp_path, manifest, data):
    write_manifest(tmp_path, manifest)
    content = bytearray((tmp_path / MANIFEST).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises((CacheCorruptError, ValueError), match=r"manifest\.json: (changed since|not a manifest|format)"):
        read_manifest(tmp_path)


@given(specs)
def test_a_spec_comes_back_from_json(spec):
    assert FeatureSpec.from_dict(parse_json(canonical_json(spec))) == spec
    assert spec.differences(spec) == []


@given(specs, specs)
def test_specs_differ_where_a_field_that_identifies_does(one, other):
    fields_that_differ = {
        field.name
        for field in fields(FeatureSpec)
        if field.name not in LOCATION_FIELDS and getattr(one, field.name) != getattr(other, field.name)
    }
    if one.unet is None or other.unet is None:
        fields_that_differ -= {*UNET_FIELDS}
    assert {line.partition(":")[0] for line in one.differences(other)} == fields_that_differ


values = st.recursive(
    st.none() | st.booleans() | numbers | words | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_canonical_json_says_the_same_however_it_is_ordered(value):
    assume("\\ud" not in json.dumps(value))
    assert parse_json(canonical_json(value)) == value
    backwards = dict(reversed(value.items())) if isinstance(value, dict) else value
    assert canonical_json(backwards) == canonical_json(value) == canonical_json(parse_json(canonical_json(value)))


class_names = st.text(min_size=1).filter(str.strip)


@given(st.dictionaries(st.integers(0, 65535), class_names, min_size=2, max_size=6), st.data())
def test_classes_come_back_and_map_values_to_places(named, data):
    assume(len(set(named.values())) == len(named))
    ignore = data.draw(st.none() | st.integers(0, 65535).filter(lambda value: value not in named))
    classes = Classes.from_dict({"classes": {str(value): name for value, name in named.items()}, "ignore": ignore})
    assert Classes.from_dict(classes.to_dict()) == classes
    assert list(classes.ids) == sorted(named)
    with pytest.raises(DataError, match="is a class too"):
        Classes.from_dict(classes.to_dict() | {"ignore": classes.ids[0]})


spoken = st.lists(
    st.sampled_from(
        [
            "the",
            "nuclei",
            "are",
            "round",
            "not",
            "spindle",
            "shaped",
            "in",
            "upper",
            "half",
            ".",
            ",",
            "Lesion's",
            "3x",
            "肺",
            "…",
        ]
    ),
    min_size=1,
    max_size=12,
).map(" ".join)


@cache
def encoder_at(folder):
    return load_text_encoder(f"hf:{folder}")


@pytest.mark.slow
@quick
@given(st.lists(spoken, min_size=1, max_size=4))
def test_tokens_are_counted_told_and_masked_alike_in_any_company(tiny_encoder, texts):
    encoder = encoder_at(tiny_encoder)
    counted = encoder.count_tokens(texts)
    assume(max(counted) <= encoder.limit)
    together = encoder.encode(texts)
    assert together.mask.sum(1).tolist() == counted == [len(encoder.token_spans(text)) for text in texts]
    assert together.tokens.shape == (len(texts), max(counted), encoder.dim)
    assert bool((together.tokens[~together.mask] == 0).all())
    for place, text in enumerate(texts):
        alone = encoder.encode([text]).tokens[0]
        torch.testing.assert_close(together.tokens[place, : counted[place]], alone, rtol=0, atol=1e-5)


@quick
@given(spoken)
def test_tokens_stand_for_words_in_order_and_a_cut_text_is_a_beginning(tiny_encoder, text):
    encoder = encoder_at(tiny_encoder)
    spans = [span for span in encoder.token_spans(text) if span is not None]
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    long = " ".join([text] * 20)
    assume(encoder.count_tokens([long])[0] > encoder.limit)
    with pytest.raises(DataError, match=f"1 texts are longer than the {encoder.limit} tokens"):
        encoder.encode([long])
    assert int(encoder.encode([long], truncate=True).mask.sum()) == encoder.limit
