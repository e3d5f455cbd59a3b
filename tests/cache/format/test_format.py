"""FORMAT.md against the code and against a real cache: what one of them has and the other has not fails here."""

import json
import re
from dataclasses import fields, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr

from textdiff.cache import hdf5, reader
from textdiff.cache.building.derived import TextArrays, row_loader
from textdiff.cache.building.journal import derived_path
from textdiff.cache.building.plan import plan_work
from textdiff.cache.building.shared_plan import SharedPlan
from textdiff.cache.building.writer import CacheWriter
from textdiff.cache.format import layout
from textdiff.cache.format.manifest import (
    DerivedShardRecord,
    Manifest,
    ProjectionRecord,
    RowKey,
    Unit,
    read_manifest,
    write_manifest,
)
from textdiff.cache.format.maps import StoredMaps
from textdiff.cache.format.samples import IGNORE, SampleRow, SampleTable
from textdiff.cache.format.sealed_json import seal_holds
from textdiff.cache.format.shard import ShardRecord, write_shard
from textdiff.cache.format.spec import FORMAT, EncoderSpec, FeatureSpec, TextSpec, digest
from textdiff.cache.reader import FeatureReader
from textdiff.pipeline.config.cache import CacheExportConfig
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.maintenance.export import export_cache

DOCUMENT = Path(reader.__file__).with_name("FORMAT.md").read_text(encoding="utf-8")
DATACLASSES = [
    FeatureSpec, EncoderSpec, TextSpec, RowKey, Unit, ShardRecord, ProjectionRecord, DerivedShardRecord, Manifest,
    SampleRow, SampleTable, SharedPlan,
]  # fmt: skip
JSON_TYPES = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "null",
}


def table_under(header):
    """The rows of the one table whose header begins with `header`: cells without backquotes."""
    lines = DOCUMENT.splitlines()
    (start,) = (number for number, line in enumerate(lines) if line.startswith(f"| {header} |"))
    return _rows(lines, start)


def fields_of(name):
    """Field → the JSON types that the section of the dataclass `name` gives it."""
    lines = DOCUMENT.splitlines()
    (heading,) = (number for number, line in enumerate(lines) if line.startswith(f"### {name}:"))
    assert lines[heading + 2] == "| Field | JSON | Meaning |"
    rows = _rows(lines, heading + 2)
    assert all(meaning for _, _, meaning in rows)
    assert len({row[0] for row in rows}) == len(rows)
    return {field: set(types.split(" or ")) for field, types, _ in rows}


def _rows(lines, start):
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return rows
        rows.append([cell.strip().replace("`", "") for cell in line.strip().strip("|").split("|")])
    return rows


def code_blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


def tree_patterns():
    """Every file of the tree as a regular expression."""
    (tree,) = code_blocks("tree")
    lines = tree.splitlines()[1:]
    depths = [(len(line) - len(line.lstrip())) // 4 for line in lines] + [0]
    folders, patterns = [], set()
    for line, depth, following in zip(lines, depths, depths[1:], strict=False):
        folders = [*folders[: depth - 1], line.strip()]
        if following <= depth:
            pattern = "/".join(folders).replace(".", r"\.")
            pattern = pattern.replace("<digest>", "[0-9a-f]{12}").replace("<array>", r"[a-z]+(-[a-z]+)?")
            patterns.add(_numbered(pattern))
    return patterns


def _numbered(pattern):
    """With numbers in the places of words in brackets; in a block's place an encoder may stand."""
    return re.sub(r"<\w+>", r"\\d+", re.sub("<(block|encoder)>", r"\\w+", pattern))


def load(path):
    return json.loads(path.read_bytes())


@pytest.fixture
def interrupted(extraction, monkeypatch):
    """The cache of an extraction that ended before it published."""

    def end(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CacheWriter, "publish", end)
        with pytest.raises(KeyboardInterrupt):
            extract_features(extraction)
    return extraction.cache


N_COMPONENTS = 5


@pytest.fixture
def compressed_cache(tiny_cache, tmp_path):
    """The tiny cache again, as int8; block 1 with 5 components of its channels, the mean of which is taken as 0.

    Layer 2 of an encoder has the numbers of block 1 at timestep 50, before these were projected.
    """
    source, root = FeatureReader(tiny_cache), tmp_path / "compressed"
    spec = replace(source.manifest.features, dtype="int8", pca=N_COMPONENTS)
    shapes = {1: source.manifest.block_shapes[1], 3: (*source.manifest.block_shapes[3][:2], N_COMPONENTS)}
    shapes["tiny/2"] = shapes[1]
    encoders = {"tiny": EncoderSpec("timm:tiny", "0" * 64, 16)}
    plan = plan_work(None, spec, source.manifest.rows, shapes, source.timesteps, encoders=encoders)
    writer = CacheWriter(root, plan.manifest, plan.unfitted)
    assert plan.unfitted == ((1, 50), (1, 150), ("tiny/2", 0))
    rows = np.eye(N_COMPONENTS + 1, shapes[1][2], -1, np.float32)
    writer.write_projections(dict.fromkeys(plan.unfitted, rows))
    for unit in plan.pending:
        if unit.encoder:
            maps = {("tiny/2", 0): source.read([1], [50], unit.rows)[1, 50]}
        else:
            maps = source.read(unit.blocks, unit.timesteps, unit.rows)
        writer.write_unit(unit, {pair: quantised(found.values) for pair, found in maps.items()}, {})
    texts = TextArrays(source.manifest.texts, *source.texts())
    classes = source.manifest.classes
    load = row_loader(images=source.image, labels=source.labels, filters=source.filters)
    writer.publish(source.table, classes, texts, filters=True, load=load)
    return root


def quantised(values):
    """The first channels in eight bits."""
    first = values[..., :N_COMPONENTS].astype(np.float32)
    scales = np.abs(first).max((1, 2)) / 127
    return StoredMaps(np.rint(first / scales[:, None, None]).astype(np.int8), scales)


@pytest.fixture(params=["tiny_cache", "compressed_cache"])
def cache(request):
    """A cache of each kind."""
    return request.getfixturevalue(request.param)


def json_objects(cache):
    """Dataclass → the objects of that kind in the cache's JSON files."""
    table, manifest = load(cache / "samples.json"), load(cache / "manifest.json")
    return {
        "SampleTable": [table],
        "SampleRow": table["samples"],
        "Manifest": [manifest],
        "FeatureSpec": [manifest["features"]],
        "EncoderSpec": list(manifest["encoders"].values()),
        "TextSpec": [manifest["texts"]],
        "RowKey": manifest["rows"],
        "Unit": manifest["units"],
        "ShardRecord": [shard for unit in manifest["units"] for shard in unit["shards"]],
        "ProjectionRecord": manifest["projections"],
        "DerivedShardRecord": manifest["derived_shards"],
    }


def assert_documented(name, value):
    documented = fields_of(name)
    assert set(value) == set(documented)
    assert [field for field in value if JSON_TYPES[type(value[field])] not in documented[field]] == []


@pytest.mark.parametrize("cls", DATACLASSES, ids=lambda cls: cls.__name__)
def test_every_field_of_the_code_is_in_the_document_and_the_other_way_round(cls):
    beside = {"checksum", "format"} if cls is Manifest else set()
    assert set(fields_of(cls.__name__)) == {field.name for field in fields(cls)} | beside


def test_every_section_of_fields_is_held_against_the_code():
    assert set(re.findall(r"^### (\w+):", DOCUMENT, re.MULTILINE)) == {cls.__name__ for cls in DATACLASSES}


def test_the_json_files_hold_what_the_document_says(cache, compressed_cache):
    for name, values in json_objects(cache).items():
        assert values or (name in ("ProjectionRecord", "EncoderSpec") and cache != compressed_cache), name
        for value in values:
            assert_documented(name, value)
    assert set(load(cache / "manifest.json")["digests"]) == {row[0] for row in table_under("Key")}


def test_the_journal_holds_what_the_document_says(interrupted):
    plan = load(interrupted / "journal" / "plan.json")
    assert_documented("Manifest", plan)
    assert (plan["complete"], plan["units"]) == (False, [])
    for path in sorted((interrupted / "journal" / "units").iterdir()):
        values = unsealed(path)
        assert_documented("Unit", values)
        named = [values["rows"], values["timesteps"], values["blocks"]]
        assert path.name == f"{values['rows'][0]}-{digest(named)[:12]}.json"


def unsealed(path):
    """The fields of a record; its checksum holds."""
    values = load(path)
    assert seal_holds(path.read_bytes())
    del values["checksum"]
    return values


@pytest.fixture
def half_made(extraction, tmp_path):
    """The folder of an extraction of which one of two parts is finished."""
    cache = tmp_path / "half"
    extract_features(replace(extraction, cache=cache, num_parts=2, part_id=0))
    return cache


def test_the_journal_of_parts_holds_what_the_document_says(half_made):
    shared = unsealed(half_made / "journal" / "parts.json")
    assert shared.pop("format") == FORMAT
    assert_documented("SharedPlan", shared)
    assert {name for unit in shared["units"] for name in unit} == {"rows", "timesteps", "blocks"}
    assert_documented("SampleTable", load(half_made / "journal" / "samples.json"))
    derived = {path.stem: unsealed(path) for path in (half_made / "journal" / "derived").iterdir()}
    arrays = ("filters", "images", "labels")
    assert sorted(derived) == sorted([*(f"{a}-{n}" for a in arrays for n in (0, 2)), "texts-mask-0", "texts-tokens-0"])
    for values in derived.values():
        assert_documented("DerivedShardRecord", values)


def test_json_files_are_sorted_and_indented_by_one(tiny_cache):
    for name in ("samples.json", "manifest.json"):
        content = (tiny_cache / name).read_text(encoding="utf-8")
        assert content == json.dumps(json.loads(content), sort_keys=True, ensure_ascii=False, indent=1) + "\n"


def test_the_tree_names_every_file_and_no_other(tiny_cache, compressed_cache, half_made, folder_bytes):
    files = set(folder_bytes(tiny_cache)) | set(folder_bytes(compressed_cache)) | set(folder_bytes(half_made))
    patterns = tree_patterns()
    assert [name for name in sorted(files) if not any(re.fullmatch(pattern, name) for pattern in patterns)] == []
    assert [pattern for pattern in patterns if not any(re.fullmatch(pattern, name) for name in files)] == []


def array_names(cache):
    """The arrays of the cache, found on the disk: zarr's own listing warns of the tables beside them."""
    paths = [path for path in sorted(cache.rglob("zarr.json")) if load(path)["node_type"] == "array"]
    return [path.parent.relative_to(cache).as_posix() for path in paths]


def sizes_of(manifest, n_texts, array_path):
    """What the words in the table of arrays stand for."""
    sizes = {**vars(manifest.features), **vars(manifest.texts), "n_rows": len(manifest.rows), "n_texts": n_texts}
    if array_path.startswith(("features/", "encoders/", "scales/")):
        _, name, number = array_path.split("/")
        shape = manifest.block_shapes[int(name) if name.isdigit() else f"{name}/{number}"]
        sizes.update(zip(("y", "x", "channel"), shape, strict=True))
    elif array_path.startswith("projections/"):
        records = {record.shard.path.partition("/c/")[0]: record for record in manifest.projections}
        sizes.update(zip(("n_components", "model_channel"), records[array_path].shape, strict=True))
    return sizes


def resolve(cell, sizes):
    return tuple(int(term) if term.isdigit() else sizes[term] for term in cell.split(", "))


def test_the_table_of_arrays_is_what_zarr_finds(compressed_cache):
    reader, group = FeatureReader(compressed_cache), zarr.open_group(compressed_cache, mode="r")
    documented = {_numbered(row[0]): row[1:] for row in table_under("Path")}
    seen = set()
    for name in array_names(compressed_cache):
        array = group[name]
        (pattern,) = (pattern for pattern in documented if re.fullmatch(pattern, name))
        seen.add(pattern)
        dtype, axes, shape, chunk, shard, _ = documented[pattern]
        sizes = sizes_of(reader.manifest, len(reader.table.texts), name)
        assert array.dtype == np.dtype(sizes.get(dtype, dtype)), name
        assert array.metadata.dimension_names == tuple(axes.split(", ")), name
        assert array.shape == resolve(shape, sizes), name
        assert array.chunks == resolve(chunk, sizes), name
        assert array.shards == resolve(shard, sizes), name
    assert seen == set(documented)


def test_the_zarr_metadata_is_as_the_document_says(compressed_cache):
    documented = {key: json.loads(value) for key, value in table_under("Zarr metadata")}
    names = array_names(compressed_cache)
    assert len(names) == 5 + 5 + 3 + 5
    for metadata in (load(compressed_cache / name / "zarr.json") for name in names):
        sharding = metadata["codecs"][0]["configuration"]
        found = {key: metadata[key] for key in ("zarr_format", "chunk_key_encoding", "fill_value", "attributes")}
        found["index_location"] = sharding["index_location"]
        for key, codecs in {"outer": metadata, "inner": sharding}.items():
            found[f"{key} codecs"] = [codec["name"] for codec in codecs["codecs"]]
        found["index codecs"] = [codec["name"] for codec in sharding["index_codecs"]]
        assert found == documented


def test_the_worked_example_is_what_write_shard_writes(tmp_path):
    rows = {0: np.array([1, -2], np.float16), 2: np.zeros(2, np.float16)}
    record = write_shard(tmp_path, "example/c/0/0", rows, 3)
    parts = [(int(offset), bytes.fromhex(part)) for offset, part, _ in table_under("Offset")]
    assert [offset for offset, _ in parts] == [sum(len(part) for _, part in parts[:n]) for n in range(len(parts))]
    assert b"".join(part for _, part in parts) == (tmp_path / "example/c/0/0").read_bytes()
    (stated,) = re.findall(r"^Its record in the manifest: `(.*)`\.$", DOCUMENT, re.MULTILINE)
    assert json.loads(stated) == vars(record)


def run_examples(cache):
    """What the document's Python leaves behind, run in the document's order."""
    names = {"cache": str(cache)}
    for block in code_blocks("python"):
        exec(block, names)
    return names


def test_the_documents_python_reads_what_our_reader_reads(cache):
    found, reader = run_examples(cache), FeatureReader(cache)
    sample = reader.samples[-1]
    assert found["sample"]["id"] == sample.id
    assert {*found["pairs"]} == reader.pairs
    np.testing.assert_array_equal(found["activations"], reader.features(*found["pairs"][0], sample.row))
    np.testing.assert_array_equal(found["image"], reader.image(sample.row))
    np.testing.assert_array_equal(found["filters"], reader.filters(sample.row))
    np.testing.assert_array_equal(found["labels"], reader.labels(sample.row))
    tokens, mask = reader.texts()
    np.testing.assert_array_equal(found["tokens"], tokens[sample.text][mask[sample.text]])


def test_the_documents_python_gives_the_manifests_digests(cache):
    found = run_examples(cache)
    assert found["digests"] == found["manifest"]["digests"]


def test_the_documents_python_refuses_a_cache_that_is_not_whole(tiny_cache):
    write_manifest(tiny_cache, replace(read_manifest(tiny_cache), complete=False))
    with pytest.raises(SystemExit, match="not a whole cache"):
        run_examples(tiny_cache)


def test_the_documents_python_finds_a_changed_manifest(tiny_cache):
    path = tiny_cache / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"seed": 40', b'"seed": 41'))
    with pytest.raises(SystemExit, match=r"manifest\.json is damaged"):
        run_examples(tiny_cache)


def test_constants_are_those_of_the_code():
    assert DOCUMENT.startswith(f"# The feature cache, format {FORMAT}\n")
    assert f"Version of this format: {FORMAT}." in DOCUMENT
    assert f'means "not labelled": {IGNORE}.' in DOCUMENT
    n_filters = layout.N_FILTERS
    assert f"{n_filters // 3} channels of red" in DOCUMENT
    assert f"{n_filters} |" in DOCUMENT
    assert f"text // {layout.TEXTS_PER_SHARD}" in DOCUMENT


def test_every_field_of_the_features_that_identifies_is_refused_when_it_differs(tiny_cache):
    spec = read_manifest(tiny_cache).features
    for name in fields_of("FeatureSpec"):
        other = FeatureSpec(**{**vars(spec), name: "another"})
        assert [line.split(":")[0] for line in spec.differences(other)] == (
            [] if name in ("unet", "unet_config", "tile_overlap") else [name]
        )


STEP_WORDS = {
    "journal": "journal/plan.json",
    "units": "for each unit",
    "manifest.json false": "with complete false",
    "derived": "still missing, or changed",
    "zarr.json": "every zarr.json",
    "samples.json": "samples.json",
    "manifest.json true": "with complete true",
    "manifest.copy.json": "manifest.copy.json",
}


def kind_of(name, content, published):
    """To which step a file that is renamed into place belongs, where these derived shards are published."""
    if name in published or name in {derived_path(path).as_posix() for path in published}:
        return "derived"
    if "/c/" in name:
        return "units"
    if name == "manifest.json":
        return f"{name} {json.dumps(json.loads(content)['complete'])}"
    if name.startswith(("journal/units/", "journal/derived/")):
        return "units"
    return "journal" if name.startswith("journal/") else Path(name).name


def test_files_are_written_in_the_order_of_the_document(tiny_cache, extraction, monkeypatch):
    kinds, replace = [], Path.replace

    def remember(self, target):
        kinds.append(kind_of(target.relative_to(tiny_cache).as_posix(), self.read_bytes(), published))
        return replace(self, target)

    published = {one.shard.path for one in FeatureReader(tiny_cache).manifest.derived_shards}
    text = extraction.data.read_text(encoding="utf-8").replace("train0_mask.png", "train1_mask.png")
    extraction.data.write_text(text + "spare,spare.png,spare_mask.png,,train\n", encoding="utf-8")
    monkeypatch.setattr(Path, "replace", remember)
    extract_features(extraction)
    steps = [written for _, written in table_under("Step")]
    place = {kind: next(n for n, step in enumerate(steps) if words in step) for kind, words in STEP_WORDS.items()}
    assert set(kinds) == set(place)
    assert [place[kind] for kind in kinds] == sorted(place[kind] for kind in kinds)
    assert not (tiny_cache / "journal").exists()


@pytest.fixture
def packed(compressed_cache):
    """The compressed cache as an HDF5 file."""
    file = compressed_cache.with_name("packed.h5")
    export_cache(CacheExportConfig(compressed_cache, file))
    return file


def test_the_hdf5_file_holds_what_the_document_says(compressed_cache, packed, folder_bytes):
    documented = {row[0]: row[1:3] for row in table_under("Name")}
    assert set(documented) == {"<array>", f"{hdf5.FILES}/<path>"}
    arrays, group, found = array_names(compressed_cache), zarr.open_group(compressed_cache, mode="r"), {}
    with h5py.File(packed) as file:
        file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
        texts = {name for name in folder_bytes(compressed_cache) if "/c/" not in name and name != ".lock"}
        assert set(found) == {*arrays, *(f"files/{name}" for name in texts)}
        for name in arrays:
            assert (found[name].dtype, found[name].shape) == (group[name].dtype, group[name].shape)
            assert found[name].chunks == group[name].chunks
            assert [one.label for one in found[name].dims] == list(group[name].metadata.dimension_names)
        assert {found[f"files/{name}"].dtype.name for name in texts} == {documented["files/<path>"][0]}


def test_the_documents_python_reads_the_hdf5_file(compressed_cache, packed):
    found, reader = run_examples(compressed_cache), FeatureReader(compressed_cache)
    np.testing.assert_array_equal(found["read_row"](packed, 3, 50, 2), reader.stored(3, 50, 2).values)
