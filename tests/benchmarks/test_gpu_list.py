"""The GPU list on a machine without a GPU: its arithmetic, its going on, its folder, and all of it in miniature."""

import csv
import json
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pretend_device import pretend_device

from textdiff.cache.reader import FeatureReader
from textdiff.components import write_phantom

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def of_gpu(benchmark_module, monkeypatch):
    """Gives `of_gpu(name)`: a module of benchmarks/gpu."""
    for folder in (BENCHMARKS, BENCHMARKS / "speed"):
        monkeypatch.syspath_prepend(str(folder))
    return lambda name: benchmark_module("gpu", name)


def test_idle_time_and_copies_beside_kernels_worked_by_hand(of_gpu):
    kernels = of_gpu("kernels")
    spans = [
        kernels.Span("implicit_convolve_sgemm", 0, 40),
        kernels.Span("Memcpy DtoH (Device -> Pinned)", 30, 60),  # 10 of its 30 beside the convolution
        kernels.Span("group_norm", 80, 100),
    ]
    found = kernels.summarise(spans)
    assert found["idle"] == pytest.approx(0.2)
    assert found["copies_beside_others"] == pytest.approx(1 / 3)
    assert found["shares"] == {
        "copy to or from the host": pytest.approx(30 / 90), "norm": pytest.approx(20 / 90),
        "convolution": pytest.approx(40 / 90),
    }  # fmt: skip
    assert found["n_kernels"] == 3
    with pytest.raises(ValueError, match="no kernels"):
        kernels.summarise([])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc", "convolution"),
        ("void cudnn::ops::nchwToNhwcKernel<__nv_bfloat16>", "transpose"),
        ("nvjet_hsh_128x256_64x4_1x2_h_bz_coopA_TNT", "matrix product"),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::bfloat16_copy_kernel_cuda>", "cast or copy"),
        ("void at::native::(anonymous namespace)::CatArrayBatchedCopy_aligned16_contig", "elementwise"),
        ("void at::native::RowwiseMomentsCUDAKernel<float>", "norm"),
        ("void pytorch_flash::flash_fwd_kernel", "attention"),
        ("Memcpy HtoD (Pageable -> Device)", "copy to or from the host"),
        ("void something_new", "other"),
    ],
)
def test_kinds_of_kernels(of_gpu, name, kind):
    assert of_gpu("kernels").Span(name, 0, 1).kind == kind


def test_results_are_written_whole_and_shown_as_a_table(of_gpu, tmp_path):
    record = of_gpu("record")
    results = {"a": {"x": 1.23456, "by": {"8": 2, "32": None}}, "b": {"error": "E: one|two\nthree"}}
    record.write_results(tmp_path / "out", results)
    assert record.read_results(tmp_path / "out") == results
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["gpu-list.json"]
    assert list(record.lines(results))[2:] == [
        "| a | x | 1.235 |", "| a | by, 8 | 2 |", "| a | by, 32 | None |", "| b | error | E: one\\|two three |",
    ]  # fmt: skip
    assert record.read_results(tmp_path / "none") == {}


def fails(_):
    raise ZeroDivisionError("planted")


def interrupted(_):
    raise SystemExit(130)


@pytest.fixture
def work(of_gpu, tmp_path, monkeypatch):
    """Gives `work(seconds_left, **finders)`: works through items that need 10 s each; the results on the disk."""
    run, record = of_gpu("run"), of_gpu("record")
    monkeypatch.setattr(run.gc, "collect", lambda: None)  # a second, after the other tests

    def work(seconds_left, **finders):
        state = SimpleNamespace(
            in_miniature=False, seconds_left=seconds_left, on_cuda=False, results=record.read_results(tmp_path)
        )
        try:
            run.work_through([record.Item(name, 10, find) for name, find in finders.items()], state, tmp_path)
        finally:
            results = record.read_results(tmp_path)
        return results

    return work


def test_an_item_that_fails_is_recorded_and_the_next_goes_on(work, of_gpu):
    def stops(_):
        raise SystemExit(1)

    def absent(_):
        raise of_gpu("record").NotHere("no such precision")

    found = work(60, bad=fails, worse=stops, absent=absent, good=lambda _: {"figure": 1})
    assert found["bad"]["error"] == "ZeroDivisionError: planted"
    assert "in fails" in "".join(found["bad"]["said"])
    assert found["worse"]["error"] == "SystemExit: 1"
    assert found["absent"]["not_here"] == "no such precision"
    assert found["good"]["figure"] == 1
    assert found["good"]["seconds_in_all"] >= 0


def test_the_list_goes_on_where_it_was_interrupted_and_does_what_failed_again(work, capsys):
    with pytest.raises(SystemExit):
        work(60, one=lambda _: {"figure": 1}, two=fails, three=interrupted)
    found = work(60, one=fails, two=lambda _: {"figure": 2}, three=lambda _: {"figure": 3})
    assert [result["figure"] for result in found.values()] == [1, 2, 3]
    assert "one: done before" in capsys.readouterr().out


def test_an_item_for_which_the_time_left_is_too_short_is_skipped_and_done_later(work, capsys):
    found = work(9, one=fails)
    assert found == {"one": {"skipped": "takes about 10 s, and 9 s are left"}}
    assert "one: skipped: takes about 10 s" in capsys.readouterr().out
    assert work(60, one=lambda _: {"figure": 1})["one"]["figure"] == 1


def test_wheels_of_what_is_there_and_of_its_needs_are_not_asked_for(of_gpu):
    wheels = of_gpu("wheels")
    nothing = wheels.lacking(())
    assert {"diffusers", "zarr", "numcodecs", "scipy", "pytest"} <= nothing.keys()
    assert not {"torch", "triton", "sympy", "typing-extensions"} & nothing.keys()
    some = wheels.lacking(wheels.read_names(BENCHMARKS / "gpu" / "present.txt"))
    assert {"diffusers", "zarr", "numcodecs", "donfig", "google-crc32c"} <= some.keys() < nothing.keys()
    assert "pydantic" not in some  # which only a distribution needs that is there


def test_wheels_are_fetched_once_and_within_the_limit(of_gpu, tmp_path, monkeypatch):
    wheels, asked = of_gpu("wheels"), []

    def download(name, version, folder):
        asked.append((name, version))
        if name == "no-wheel":
            return "no matching distribution"
        (folder / f"{name.replace('-', '_')}-1.0-py3-none-any.whl").write_bytes(bytes(40))
        return ""

    monkeypatch.setattr(wheels, "download", download)
    wanted = {"a-b": "1.0", "no-wheel": "2.0", "c": "", "d": "1.0"}
    for _ in range(2):
        left_out = wheels.fetch(wanted, tmp_path / "wheels", 100)
        assert left_out["no-wheel"] == "no matching distribution"
        assert set(left_out) == {"no-wheel", "d"}
        assert sorted(path.name[0] for path in (tmp_path / "wheels").iterdir()) == ["a", "c"]
    assert asked.count(("a-b", "1.0")) == 1


def test_wheels_are_unpacked_once(of_gpu, tmp_path):
    (tmp_path / "wheels").mkdir()
    with zipfile.ZipFile(tmp_path / "wheels" / "one-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("one/__init__.py", "x = 1")
    site = of_gpu("run").unpacked(tmp_path / "wheels")
    assert (site / "one" / "__init__.py").read_text() == "x = 1"
    (site / "one" / "__init__.py").write_text("kept")
    assert of_gpu("run").unpacked(tmp_path / "wheels") == site
    assert (site / "one" / "__init__.py").read_text() == "kept"


def test_images_of_a_data_set_are_copied_with_masks_of_two_values(of_gpu, tiny_cache, tmp_path):
    reader = FeatureReader(tiny_cache)
    of_gpu("prepare").copy_samples(reader, tmp_path / "copied")
    with (tmp_path / "copied" / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["split"] for row in rows] == ["train"] * 4 + ["val"] * 2
    for row, sample in zip(rows, [*reader.split("train"), *reader.split("val")], strict=True):
        image, mask = (np.array(Image.open(tmp_path / "copied" / row[name])) for name in ("image", "mask"))
        np.testing.assert_array_equal(image, reader.image(sample.row))
        np.testing.assert_array_equal(mask, 255 * reader.labels(sample.row))


@pytest.mark.soak
@pytest.mark.slow
def test_the_list_in_miniature_is_interrupted_goes_on_and_gives_every_item(of_gpu, tmp_path):
    command = [sys.executable, str(BENCHMARKS / "gpu" / "run.py"), "--miniature", "--out", str(tmp_path / "out")]
    command += ["--minutes", "30", "--work", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("machine: ")
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode not in (0, 1)
    assert of_gpu("record").read_results(tmp_path / "out").keys() == {"machine"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.startswith("machine: done before\n")
    results = json.loads((tmp_path / "out" / "gpu-list.json").read_bytes())
    assert list(results) == [item.name for item in of_gpu("items").ITEMS]
    assert {name: result for name, result in results.items() if {"error", "skipped"} & result.keys()} == {}
    assert results["tests"]["passed"] == 6
    assert results["extraction-bytes"]["killed_and_resumed_is_equal"] is True
    assert [results["training-bytes"][head]["are_equal"] for head in ("pixel", "context", "paper")] == [True] * 3
    assert results["memory"]["too_little_memory"]["exit_status"] == 1
    assert results["blocks"]["largest_difference"]["float32"] == {"1": 0.0, "3": 0.0}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_items_run_on_a_pretend_gpu(of_gpu, tmp_path):
    """Which the miniature, on a CPU, does not show; profiles and limits of memory need a real one."""
    ground, names = of_gpu("ground"), ("machine", "efficiency-8-weights", "blocks", "caches")
    data = write_phantom(tmp_path / "images", n_train=2, n_val=1, n_test=1, image_size=64)
    state = ground.Ground("cuda", ground.MINIATURE, data, tmp_path, time.monotonic() + 600)
    with pretend_device():
        of_gpu("run").work_through([item for item in of_gpu("items").ITEMS if item.name in names], state, tmp_path)
    assert [name for name, result in state.results.items() if "error" not in result] == list(names)
    assert state.results["machine"]["device"] == "Pretend"
    of_blocks = state.results["blocks"]["largest_difference"]
    assert max(of_blocks["float32"].values()) < 1e-4 < min(of_blocks["bfloat16"].values())
    assert max(state.results["caches"]["largest_difference"].values()) < 1e-4
