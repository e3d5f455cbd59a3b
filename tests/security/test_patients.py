"""What is known of patients stays out of everything that may be handed on."""

import csv
import hmac
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from textdiff.cache.format.samples import is_hashed
from textdiff.cache.reader import FeatureReader
from textdiff.errors import CacheMismatchError, ConfigError, DataError
from textdiff.pipeline.config.data import ManifestConfig
from textdiff.pipeline.config.evaluation import CompareConfig, EvaluateConfig, SuggestConfig
from textdiff.pipeline.config.prediction import PredictConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.data.pseudonyms import Pseudonyms
from textdiff.pipeline.evaluation.compare import compare
from textdiff.pipeline.evaluation.evaluate import evaluate
from textdiff.pipeline.evaluation.suggest import suggest
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.maintenance.recipe import extraction_of
from textdiff.pipeline.maintenance.verify import verify_cache
from textdiff.pipeline.manifests.make import make_manifest
from textdiff.pipeline.prediction.predict import predict
from textdiff.pipeline.runtime.progress import Progress
from textdiff.pipeline.training.train import train_head


@pytest.fixture
def patients(tiny_data):
    """The manifest with groups that name patients, of which Mueller has two images, and a folder that names a ward."""
    folder = tiny_data.parent.rename(tiny_data.parent.with_name("WardSeven"))
    manifest = folder / "manifest.csv"
    lines = manifest.read_text(encoding="utf-8").splitlines()
    named = {"train0": "Mueller", "train1": "Mueller", "train2": "Schmidt", "train3": "Weber", "val0": "Fischer"}
    rows = [lines[0] + ",group"]
    for line in lines[1:]:
        name = line.split(",", 1)[0]
        rows.append(f"{line},{named.get(name, 'Becker-' + name)}")
    manifest.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return manifest


@pytest.fixture
def hashed(extraction, patients):
    return replace(extraction, data=patients, hash_ids=True)


NAMES = re.compile(rb"Mueller|Schmidt|Weber|Fischer|Becker|WardSeven|train[0-3]|val[01]|test0", re.IGNORECASE)


def telling(folder, names=NAMES):
    """The files below a folder that hold a name, or have one."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if names.search(path.read_bytes()) or names.search(str(path.name).encode())]


def ids(table):
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_names_are_keyed_and_marked_by_the_key():
    names, others = (Pseudonyms(key, None) for key in (b"0" * 32, b"1" * 32))
    expected = hmac.digest(b"0" * 32, b"textdiff id\0Mueller", "sha256").hex()[:16]
    assert names.name("id", "Mueller") == f"{names.mark}-{expected}"
    assert names.name("group", "Mueller") != names.name("id", "Mueller") != others.name("id", "Mueller")
    assert names.mark != others.mark
    assert is_hashed(names.name("id", "x") + "@0,64~3")
    assert not is_hashed("h123-train0")


@pytest.mark.slow
def test_a_cache_with_hashed_ids_names_nobody_and_everything_still_works(hashed, tmp_path, capfd):
    extract_features(hashed)
    assert telling(hashed.cache) == []
    reader = FeatureReader(hashed.cache)
    assert [sample.split for sample in reader.samples] == ["train"] * 4 + ["val"] * 2 + ["test"]
    groups = [sample.group for sample in reader.samples]
    assert groups[0] == groups[1]  # the same patient
    assert len(set(groups)) == 6
    assert reader.table.root == ""
    runs = [tmp_path / "run", tmp_path / "other"]
    for seed, run in enumerate(runs):
        train_head(TrainConfig(hashed.cache, run, head="pixel", text="true", epochs=1, device="cpu", seed=seed))
    found = evaluate(EvaluateConfig(runs[0], hashed.cache, split="val", device="cpu"))
    assert len(found.to_dict()["per_sample"]) == 2
    compare(CompareConfig(*runs, split="val", device="cpu"))
    image = hashed.data.parent / "spare.png"
    predict(PredictConfig(runs[0], image, tmp_path / "masks", text="the nuclei are round", device="cpu"))
    assert (tmp_path / "masks" / "spare.png").exists()
    assert [path for run in runs for path in telling(run)] == []
    verify_cache(hashed.cache)
    out, err = capfd.readouterr()
    assert not NAMES.search((out + err).encode())


def test_what_a_name_stands_for_is_kept_beside_the_cache_for_its_owner(hashed):
    extract_features(hashed)
    table, key = (hashed.cache.with_name("cache" + ending) for ending in (".ids.csv", ".key"))
    assert {oct(path.stat().st_mode)[-3:] for path in (table, key)} == {"600"}
    rows = ids(table)
    assert {row["id"]: row["group"] for row in rows}["train1"] == "Mueller"
    assert {row["hashed_id"] for row in rows} == {sample.parent for sample in FeatureReader(hashed.cache).samples}
    assert rows[0]["image"].endswith(".png")
    assert sorted(path.name for path in hashed.cache.parent.glob("cache*")) == ["cache", "cache.ids.csv", "cache.key"]


def test_a_warning_names_hashes_and_its_numbers_stay_where_ids_are_numbers(hashed, write_mask, capsys):
    text = hashed.data.read_text(encoding="utf-8")
    hashed.data.write_text(text.replace("train0,", "1,").replace("train1,", "2,"), encoding="utf-8")
    for name in ("train0", "train1"):
        write_mask(hashed.data.parent / f"{name}_mask.png", values=(0,), size=(20, 24))
    extract_features(hashed, Progress(shown=True))
    names = Pseudonyms(hashed.cache.with_name("cache.key").read_bytes().strip(), hashed.cache)
    expected = f"2 of 7 masks hold only background: {names.name('id', '1')}, {names.name('id', '2')} [empty-mask]\n"
    assert f"warning: {expected}" in capsys.readouterr().err


def test_suggestions_name_samples_as_the_cache_does(hashed, tmp_path):
    lines = hashed.data.read_text(encoding="utf-8").replace("train3_mask.png", "")
    hashed.data.write_text(lines, encoding="utf-8")
    extract_features(hashed)
    train_head(TrainConfig(hashed.cache, tmp_path / "run", head="pixel", text="true", epochs=1, device="cpu"))
    (one,) = suggest(SuggestConfig(hashed.cache, tmp_path / "run", out=tmp_path / "next", device="cpu")).suggestions
    found = {row["hashed_id"]: row["id"] for row in ids(hashed.cache.with_name("cache.ids.csv"))}
    assert found[one.id] == found[one.image] == "train3"
    assert telling(tmp_path / "next") == []


def test_the_same_key_gives_the_same_names_and_adds_to_the_cache(hashed, folder_bytes, tmp_path):
    extract_features(hashed)
    before = folder_bytes(hashed.cache)
    again = replace(hashed, cache=tmp_path / "again", hash_key=hashed.cache.with_name("cache.key"))
    extract_features(again)
    assert folder_bytes(again.cache) == before
    assert extract_features(hashed).n_forwards == 0
    kept = hashed.data.read_text(encoding="utf-8").splitlines()
    hashed.data.write_text("\n".join([*kept[:1], *kept[2:]]) + "\n", encoding="utf-8")
    assert extract_features(hashed).n_forwards == 0
    assert "train0" in {row["id"] for row in ids(hashed.cache.with_name("cache.ids.csv"))}
    repeated = extraction_of(FeatureReader(hashed.cache), (1,), (50,))
    assert (repeated.hash_ids, str(repeated.data)) == (True, "DATA")


def test_plain_and_hashed_ids_do_not_mix(hashed, tmp_path):
    plain = replace(hashed, hash_ids=False, cache=tmp_path / "plain")
    extract_features(plain)
    with pytest.raises(CacheMismatchError, match="ids in it are not hashed; leave --hash-ids out"):
        extract_features(replace(hashed, cache=plain.cache))
    extract_features(hashed)
    with pytest.raises(CacheMismatchError, match=r"its ids are hashed; add --hash-ids \(and --hash-key\)"):
        extract_features(replace(hashed, hash_ids=False))
    (tmp_path / "other.key").write_text("another key of this test")
    with pytest.raises(CacheMismatchError, match=r"hashed with another key than .*other\.key"):
        extract_features(replace(hashed, hash_key=tmp_path / "other.key"))
    hashed.cache.with_name("cache.key").unlink()
    with pytest.raises(DataError, match=r"cache\.key: the key of the cache's ids is gone; restore it, or"):
        extract_features(hashed)
    assert not hashed.cache.with_name("cache.key").exists()


def test_a_resume_needs_the_key_of_the_beginning(hashed, monkeypatch):
    publish = "textdiff.pipeline.extraction.extraction.CacheWriter.publish"
    monkeypatch.setattr(publish, lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        extract_features(hashed)
    monkeypatch.undo()
    assert telling(hashed.cache) == []
    with pytest.raises(CacheMismatchError, match="its ids are hashed"):
        extract_features(replace(hashed, hash_ids=False, resume=True))
    assert extract_features(replace(hashed, resume=True)).n_forwards == 0


def test_nothing_is_made_where_nothing_is_to_be_done_and_bad_keys_are_refused(hashed, tmp_path):
    before = sorted(tmp_path.iterdir())
    extract_features(replace(hashed, dry_run=True))
    assert sorted(tmp_path.iterdir()) == before
    (tmp_path / "short.key").write_text("secret\n")
    with pytest.raises(DataError, match=r"short\.key: a key of 6 bytes; expected at least 16, drawn at random"):
        extract_features(replace(hashed, hash_key=tmp_path / "short.key"))
    with pytest.raises(DataError, match=r"--hash-key .*nowhere/key: there is no folder .*nowhere; make it"):
        extract_features(replace(hashed, hash_key=tmp_path / "nowhere" / "key"))
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(ConfigError, match="--hash-key was given without --hash-ids; give both"):
        replace(hashed, hash_ids=False, hash_key=tmp_path / "short.key")


@pytest.mark.slow
def test_masks_at_native_size_cannot_be_found_by_hashed_names(hashed, tmp_path):
    extract_features(hashed)
    train_head(TrainConfig(hashed.cache, tmp_path / "run", head="pixel", text="true", epochs=1, device="cpu"))
    with pytest.raises(ConfigError, match=r"--at native needs the mask files, which .*cache does not name"):
        evaluate(EvaluateConfig(tmp_path / "run", hashed.cache, split="val", at="native", device="cpu"))


def test_warnings_name_samples_by_their_hashes(hashed, write_mask, caplog):
    write_mask(hashed.data.parent / "train2_mask.png", (0,), (20, 24))
    extract_features(hashed)
    (warning,) = [line for line in caplog.messages if "hold only background" in line]
    assert re.search(r"1 of 7 masks hold only background: h[0-9a-f]{8}-[0-9a-f]{16} \[empty-mask\]$", warning)


def test_the_patient_of_a_dicom_file_is_in_its_manifest_unless_a_pattern_names_the_group(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    (tmp_path / "dicom").mkdir()
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.1"
    dataset.PatientName, dataset.PatientID = "SECRET^NAME", "SECRET-ID"
    dataset.set_pixel_data(np.full((16, 16), 128, np.uint8), "MONOCHROME2", 8)
    dataset.save_as(tmp_path / "dicom" / "scan.dcm", enforce_file_format=True)
    by_header, by_pattern = tmp_path / "header.csv", tmp_path / "pattern.csv"
    make_manifest(ManifestConfig(tmp_path / "dicom", by_header, split=(1, 0, 0)))
    make_manifest(ManifestConfig(tmp_path / "dicom", by_pattern, split=(1, 0, 0), group_pattern=""))
    assert re.findall("SECRET.[A-Z]+", by_header.read_text()) == ["SECRET-ID"]
    assert "SECRET" not in by_pattern.read_text()


@pytest.mark.slow
def test_dicom_headers_reach_no_file(extraction, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    folder = tmp_path / "dicom"
    folder.mkdir()
    rng, rows = np.random.default_rng(0), ["id,image,mask,text,split"]
    for place, split in enumerate(["train", "train", "val", "test"]):
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = f"1.2.{place}"
        dataset.PatientName, dataset.PatientID, dataset.InstitutionName = "SECRET^NAME", "SECRET-ID", "SECRET WARD"
        dataset.set_pixel_data(rng.integers(0, 256, (16, 16), dtype=np.uint8), "MONOCHROME2", 8)
        dataset.save_as(folder / f"{place}.dcm", enforce_file_format=True)
        dataset.set_pixel_data(np.tril(np.ones((16, 16), np.uint8), place), "MONOCHROME2", 8)
        dataset.save_as(folder / f"{place}_mask.dcm", enforce_file_format=True)
        rows.append(f"{place},{place}.dcm,{place}_mask.dcm,the nuclei are round,{split}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    assert len(telling(folder, re.compile(b"SECRET"))) == 8
    config, out = replace(extraction, data=folder, cache=tmp_path / "out" / "cache"), tmp_path / "out"
    extract_features(config)
    train_head(TrainConfig(config.cache, out / "run", head="pixel", text="true", epochs=1, device="cpu"))
    evaluate(EvaluateConfig(out / "run", config.cache, device="cpu"))
    shutil.copytree(folder, tmp_path / "new", ignore=shutil.ignore_patterns("*_mask*", "*.csv"))
    predict(PredictConfig(out / "run", tmp_path / "new", out / "masks", text="the nuclei are round", device="cpu"))
    assert len(list((out / "masks").glob("*.png"))) == 4
    assert telling(out, re.compile(b"SECRET")) == []
