"""Every benchmark refuses a figure that cannot be true, and no sound one."""

import copy
from functools import partial

import numpy as np
import pytest

RATES = {"folder": {"write": [120.0], "read": [300.0]}}
COSTS = {name: {"ms_an_image": ms} for name, ms in (("check", 0.5), ("plan", 0.6), ("again", 0.7), ("open", 0.0))}
DICE = {"a": 0.7, "b": 0.8}
ERRORS = {"id": "a", "dice": 0.7, "trivial": 0.4, "n_wrong": 30, "n_of_kinds": 30}
SOUND = {
    ("speed", "ablate"): {
        "n_heads": 2, "ratio": 0.5,
        "repeats": [{
            "n_trained": 2, "of_singles_s": [(5.0, 5.0)] * 2, "ablation_s": 5.0, "singles_s": 10.0,
            "ablation_cpu_s": 5.0, "singles_cpu_s": 9.0,
        }],
    },
    ("speed", "cache_io"): {
        "mb": 96.0, "mb_read": {"numpy": 96.0, "textdiff": 96.0},
        "median_s": {step: {"numpy": 0.1, "textdiff": 0.2} for step in ("write", "cold", "warm", "gather")},
    },
    ("speed", "machines"): {
        "not_byte_identical": [], "one_process_s": 10.0, "three_parts_s": 5.0, "two_parts_s": [6.0],
        "ray_two_workers_s": [8.0], "ray_one_worker_killed_s": 9.0,
    },
    ("speed", "pretrain"): {
        "steps_per_s": {"bfloat16": [6.0], "float32": [4.0]}, "losses": {"bfloat16": 0.51, "float32": 0.5},
        "steps_per_s_of_calls": {"bfloat16": [5.0], "float32": [3.5]},
    },
    ("speed", "scaling"): {
        **COSTS, "verify": {"ms_an_image": 0.3, "mb": 2.0}, "mb_of_shards": 2.0, "filter_256_pixels_ms": 99.0,
    },
    ("speed", "slides"): {
        "height": 700, "width": 1500, "peak_mib": 556.0, "seconds": 1.0, "mask_height": 700, "mask_width": 1500,
        "foreground": 0.3, "objects": 14, "slide.png": 100, "slide.geojson": 100, "slide.ome.zarr": 100,
    },
    ("speed", "stores"): {"mb": 5.0, "mb_written": [5.0], "each": RATES},
    ("speed", "train"): {
        "open_s": 2.0, "epochs_s": [1.0, 1.0], "choose_s": 0.2, "losses": [0.5, 0.4], "peak_anon_bytes": 500,
        "open_peak_anon_bytes": 400, "epochs_peak_anon_bytes": 500, "choose_peak_anon_bytes": 450,
    },
    ("accuracy", "errors"): {
        "mean": {"dice": 0.7, "gain": {"missed": 0.1}, "threshold": 0.01}, "per_sample": [ERRORS],
    },
    ("accuracy", "few_shot"): {
        "trivial_dice": 0.4,
        "rows": [
            {"method": "head", "sources": "unet", "n": n, "n_groups": n, "n_images": 24, "dice": dice}
            for n, dice in ((1, 0.3), (24, 0.8))
        ],
    },
    ("accuracy", "languages"): {"English": {"tokens": 9.0, "unknown": 0.0, "alike": 2}},
    ("accuracy", "rgb_baseline"): {
        scaling: {"LogisticRegression": {"gain": 0.1, "per_sample": DICE}}
        for scaling in ("over_training_pixels", "within_each_image")
    },
    ("torture", "chaos"): {"training": {"usual_s": 9.0, "cycles": 2, "kills": 6, "resumed": 3}},
    ("torture", "flips"): {
        "kinds": {"rows": {"flips": 2}}, "files": 41, "verify_s": 0.1, "flips": 2, "found": 2, "mended": 2,
        "missed": [],
    },
}  # fmt: skip
COMPRESSION = [
    {"kind": kind, "mb_per_image": mb, "dice": (0.73, 0.70, 0.76), "trivial_dice": 0.4}
    for kind, mb in (("float16", 33.8), ("int8", 16.9), ("pca 32", 29.1))
]
SMALL = [{"masks": "lesion", "size": 256, "way": "rarest", "lost": 0.0, "dice_model": 1.0, "dice_native": 0.1}]
SOUND |= {("accuracy", "compression"): COMPRESSION, ("accuracy", "small_objects"): SMALL}
DECISIONS = [
    {"text": text, "used": used, "dice_with": 0.7, "dice_without": 0.5, "difference": 0.2, "p_value": 0.01}
    for text, used in (("true", True), ("shuffled", False))
]
SOUND |= {("accuracy", "text_auto"): {"draws": 1, "right": {"true": 1, "shuffled": 1}, "decisions": DECISIONS}}

PLANTED = [
    ("speed", "ablate", ("repeats", 0, "n_trained"), 1, r"heads that the ablation trained, and .*: 1 and 2"),
    ("speed", "ablate", ("repeats", 0, "of_singles_s"), [], r"single trainings, and heads: 0 and 2"),
    ("speed", "ablate", ("repeats", 0, "singles_cpu_s"), 1e5, r"processors of singles is 1e\+04, expected 0\.01 to"),
    ("speed", "ablate", ("ratio",), 2.0, r"ablation ÷ single trainings is 2, expected 0 to 1\.5"),
    ("speed", "cache_io", ("mb_read", "textdiff"), 48.0, r"MB that textdiff read, and that it wrote: 48 and 96"),
    ("speed", "cache_io", ("median_s", "warm", "textdiff"), 1e-5, r"MB/s of warm textdiff is 9\.6e\+06"),
    ("speed", "cache_io", ("median_s", "gather", "numpy"), 0.0, r"s of gather numpy is 0, expected 1e-06 to inf"),
    ("speed", "machines", ("not_byte_identical",), ["ray0"], r"ray0 is not byte-identical to the cache of one process"),
    ("speed", "machines", ("two_parts_s",), [4.0], r"one_process_s ÷ two_parts_s is 2\.5, expected 0 to 2\.2"),
    ("speed", "machines", ("ray_one_worker_killed_s",), 0.0, r"ray_one_worker_killed_s is 0, expected"),
    ("speed", "pretrain", ("losses", "bfloat16"), 0.9, r"loss in bfloat16 ÷ loss in float32 is 1\.8, expected 0\.8 to"),
    ("speed", "pretrain", ("steps_per_s_of_calls", "float32"), [6.0], r"of calls ÷ steps/s, float32 is 1\.5"),
    ("speed", "pretrain", ("steps_per_s", "bfloat16", 0), -3.0, r"steps_per_s bfloat16 0 is -3"),
    ("speed", "scaling", ("plan", "ms_an_image"), 0.1, r"plan takes 0\.1 ms an image, less than its part check"),
    ("speed", "scaling", ("filter_256_pixels_ms",), -1.0, r"filter_256_pixels_ms is -1"),
    ("speed", "scaling", ("verify", "mb"), 1.0, r"MB that were verified, and that the shards have: 1 and 2"),
    ("speed", "slides", ("mask_width",), 750, r"width of the slide and of its mask: 1500 and 750"),
    ("speed", "slides", ("objects",), 0, r"objects is 0"),
    ("speed", "stores", ("mb_written",), [4.0], r"MB that were written, and that the cache's shards have: 4 and 5"),
    ("speed", "stores", ("each", "folder", "read", 0), 1e6, r"MB/s of folder read 0 is 1e\+06"),
    ("speed", "train", ("epochs_s",), [1.0, 0.0], r"epochs_s 1 is 0"),
    ("speed", "train", ("losses",), [0.5, 0.6], r"lowest loss after the first epoch is 0\.6, expected 0 to 0\.5"),
    ("speed", "train", ("open_peak_anon_bytes",), 600, r"peak in bytes, of the whole open is 600"),
    ("accuracy", "text_auto", ("draws",), 2, r"draws of true texts, and those asked for: 1 and 2"),
    ("accuracy", "text_auto", ("decisions", 0, "difference"), -0.1, r"gain of texts that are used is -0\.1"),
    ("accuracy", "text_auto", ("decisions", 1, "dice_with"), 1.7, r"dice_with is 1\.7, expected 0 to 1"),
    ("accuracy", "compression", (1, "mb_per_image"), 33.8, r"size of int8 ÷ that of float16 is 1, expected 0\.5"),
    ("accuracy", "compression", (0, "dice"), (0.3, 0.2, 0.4), r"Dice of float16 is 0\.3, expected 0\.4 to 1"),
    ("accuracy", "errors", ("per_sample", 0, "n_of_kinds"), 29, r"of the four kinds, and in all: 29 and 30"),
    ("accuracy", "errors", ("mean", "gain", "missed"), -0.1, r"gain missed is -0\.1, expected 0 to 1"),
    ("accuracy", "errors", ("mean", "dice"), 0.3, r"mean Dice is 0\.3, expected 0\.4 to 1"),
    ("accuracy", "languages", ("English", "alike"), 1, r"1 of 4 reports of English are alike, expected 0, 2, 3 or 4"),
    ("accuracy", "languages", ("English", "tokens"), 0, r"tokens of English is 0, expected 1 to 1000"),
    ("accuracy", "rgb_baseline", ("within_each_image", "LogisticRegression", "gain"), -0.2, r"class's is -0\.2"),
    ("accuracy", "rgb_baseline", ("over_training_pixels", "LogisticRegression", "per_sample", "b"), 1.2, r"b is 1\.2"),
    ("accuracy", "small_objects", (0, "lost"), 0.1, r"masks lost by rarest of lesion at 256, and none: 0\.1 and 0"),
    ("accuracy", "few_shot", ("rows", 1, "dice"), 0.3, r"Dice of head unet with 24 labels is 0\.3, expected 0\.4 to 1"),
    ("accuracy", "few_shot", ("rows", 1, "n_images"), 23, r"images of head unet, and of the first: 23 and 24"),
    ("torture", "chaos", ("training", "resumed"), 0, r"training: resumed is 0"),
    ("torture", "chaos", ("training", "kills"), 11, r"training: kills is 11, expected 0 to 10"),
    ("torture", "flips", ("kinds", "rows", "flips"), 0, r"flips of rows is 0"),
    ("torture", "flips", ("found",), 1, r"flips found and mended, at least: 2 and 1"),
]  # fmt: skip


def changed(result, path, value):
    """The result with another value at the end of a path of keys."""
    planted = copy.deepcopy(result)
    inner = planted
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return planted


@pytest.mark.parametrize(("folder", "name"), SOUND, ids=lambda part: part)
def test_sound_figures_pass(benchmark_module, folder, name):
    assert list(benchmark_module(folder, name).implausible(SOUND[folder, name])) == []


@pytest.mark.parametrize(("folder", "name", "path", "value", "message"), PLANTED)
def test_a_planted_figure_ends_the_benchmark_with_one_line(benchmark_module, folder, name, path, value, message):
    module = benchmark_module(folder, name)
    with pytest.raises(SystemExit, match=f"error: implausible figures.*{message}") as ended:
        module.refuse(module.implausible(changed(SOUND[folder, name], path, value)))
    assert "\n" not in str(ended.value)


def test_a_phase_needs_time_and_no_more_memory_than_the_process_had(benchmark_module):
    implausible = benchmark_module("speed", "peak_memory").implausible
    assert list(implausible(1.0, 400, 500)) == []
    assert "seconds is 0" in next(implausible(0.0, 400, 500))
    assert "÷ highest resident size is 2, expected 0 to 1.1" in next(implausible(1.0, 1000, 500))


def test_heads_are_compared_with_others_and_several_take_longer_than_one(benchmark_module):
    train = benchmark_module("speed", "train")

    def problems(first, second, n_heads, ratio):
        result = {"heads": [first, second], "n_heads": [n_heads, 1], "ratio": ratio, "epochs_s": [[1.0], [1.0]]}
        return list(train.implausible_comparison(result))

    one, eight = "--head pixel --precision float32", "--head pixel --ensemble 8 --precision float32"
    assert problems(eight, one, 8, 3.1) == []
    assert problems("--head context --precision bfloat16", one, 1, 0.2) == []
    assert problems(one, one, 1, 1.0) == [f"{one} is compared with itself"]
    assert "heads at once ÷ one of them is 0.3, expected 0.9091 to 8.8" in problems(eight, one, 8, 0.3)


def test_explained_words_add_up_and_every_report_names_its_target(benchmark_module):
    explain = benchmark_module("accuracy", "explain")
    of_roles = {role: np.array([[1, 2.0, 1.0, 0.5, 0.1, 1.0]] * 2) for role in explain.ROLES}
    check = partial(explain.implausible, of_roles, np.array([[0.9, 0.9, 0.1, 1.0]] * 2))
    assert list(check(10, 0.4)) == []
    assert "words of all roles, and of the reports: 10 and 11" in next(check(11, 0.4))
    assert "mean Dice with the own text is 0.9, expected 0.95 to 1" in next(check(10, 0.95))
    of_roles["target type"][1, 0] = of_roles["target shape"][1, 0] = 0
    assert "1 reports do not name their target, the first of them report 1" in list(check(8, 0.4))


def test_a_sound_file_that_is_refused_and_a_reader_that_got_nothing_are_named(benchmark_module, tmp_path):
    fuzz = benchmark_module("torture", "fuzz")
    sound = tmp_path / "a.png"
    sound.write_bytes(b"sound")

    def read(path):
        path.write_bytes(b"changed")
        raise fuzz.TextdiffError("no image")

    target = fuzz.Target("png", (sound,), read)
    refused = list(fuzz._refused(target))
    assert refused == ["png refuses its sound file a.png (TextdiffError('no image'))"]
    assert sound.read_bytes() == b"sound"
    assert list(fuzz.implausible({"png": 3}, [target], [])) == []
    assert list(fuzz.implausible({}, [target], refused))[1].startswith("executions of png is 0")


def test_a_file_is_refused_if_every_way_to_read_it_is(benchmark_module):
    readers = benchmark_module("torture", "fuzz_readers")

    def refuse():
        raise readers.TextdiffError("no")

    readers._each(refuse, lambda: None)
    with pytest.raises(readers.TextdiffError):
        readers._each(refuse, refuse)


def test_a_class_that_shrinking_lost_is_missed_as_heads_miss_it(benchmark_module):
    scoring = benchmark_module("accuracy", "scoring")
    counts = np.diag([4, 0, 2])
    assert scoring._mean_dice(counts, np.array([True, False, True])) == 1.0
    assert scoring._mean_dice(counts, np.array([True, True, True])) == 0.5
