"""Two runs on the same samples: from what they keep, from their caches, and what is refused."""

import json
from dataclasses import replace

import pytest
import torch

from textdiff.cache.format.samples import SampleRow
from textdiff.cache.format.spec import FeatureSpec
from textdiff.errors import CacheNotFoundError, RunError
from textdiff.pipeline.config.evaluation import CompareConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.config.values import to_dict
from textdiff.pipeline.evaluation import compare as module
from textdiff.pipeline.evaluation.compare import compare
from textdiff.pipeline.evaluation.result import Evaluation, kept_path, read_evaluation
from textdiff.pipeline.runs.run_config import NOT_SETTINGS, RunConfig
from textdiff.pipeline.runtime.progress import Progress
from textdiff.pipeline.scoring.summary import scores
from textdiff.pipeline.training.train import train_head
from textdiff.stages.heads.base import HeadSpec


@pytest.fixture
def handed_on(tmp_path):
    """Two runs whose cache is gone, and what to compare them by; `keep` writes the Dice that they are to have."""
    features = FeatureSpec("diffusers:u", "d", "epsilon", "shared", 1, 40, 16, None, "float16", 2)
    classes = {"classes": {"0": "background", "1": "foreground"}, "ignore": None}
    settings = to_dict(TrainConfig(tmp_path / "gone", tmp_path / "run", head="pixel"))
    train = {name: value for name, value in settings.items() if name not in NOT_SETTINGS}
    for name in ("a", "b"):
        RunConfig(train, HeadSpec({}, 2, 1, 16, 2), (), (), features, None, classes, {}, {}, {}).write(tmp_path / name)
    return CompareConfig(tmp_path / "a", tmp_path / "b", device="cpu")


def keep(run, hits, *, truth="t", classes=("foreground",), per_group=1, **more):
    """Keep an evaluation on samples of 100 true pixels, of which `hits` are found and nothing else."""
    names = [f"s{i:02}" for i in range(len(hits))]
    rows = [
        SampleRow(name, name, f"g{i // per_group:02}", "val", 0, None, (4, 4), "", "", None, None)
        for i, name in enumerate(names)
    ]
    counts = torch.tensor([[[900, 0], [100 - hit, hit]] for hit in hits])
    about = {"split": "val", "at": "model", "text": "true", "tta": 1, "cache_digest": "0123456789"} | more
    figures = scores(counts, rows)
    seen = {"train": 0, "val": 0}
    Evaluation(str(run), "cache", classes=classes, truth=truth, n_seen=seen, scores=figures, **about).keep()
    return figures


def printed(comparison):
    return "\n".join(comparison.lines())


def test_a_clear_difference_is_printed_with_its_interval_and_test(handed_on):
    of_a = keep(handed_on.run_a, [80, 82, 78, 85, 81, 79, 90, 60])
    of_b = keep(handed_on.run_b, [70, 71, 70, 74, 70, 70, 78, 57])
    comparison = compare(handed_on)
    assert comparison.paired.difference == pytest.approx(of_a["dice"] - of_b["dice"])
    assert 0 < comparison.paired.interval[0] < comparison.paired.difference < comparison.paired.interval[1]
    assert comparison.paired.test.p_value == 2 / 256
    assert comparison.verdict == "a"
    assert "A is better on these samples" in printed(comparison)
    assert "8 samples in 8 groups of val" in printed(comparison)
    best = 2 * 81 / 181 - 2 * 70 / 170
    assert {one["id"]: one["difference"] for one in comparison.per_sample}["s04"] == pytest.approx(best)
    assert [one["difference"] for one in comparison.per_sample] == sorted(
        (one["difference"] for one in comparison.per_sample), reverse=True
    )
    assert "A loses most on no sample" in printed(comparison)
    turned = compare(replace(handed_on, run_a=handed_on.run_b, run_b=handed_on.run_a))
    assert (turned.verdict, turned.paired.difference) == ("b", pytest.approx(-comparison.paired.difference))
    assert json.loads(json.dumps(comparison.to_dict()))["test"]["exact"] is True


def test_where_the_interval_includes_0_it_cannot_tell(handed_on):
    keep(handed_on.run_a, [80, 60, 78, 55, 81, 59])
    keep(handed_on.run_b, [70, 71, 70, 74, 70, 70])
    comparison = compare(handed_on)
    assert comparison.paired.interval[0] < 0 < comparison.paired.interval[1]
    assert comparison.verdict == "cannot tell"
    assert "cannot tell which is better: the interval includes 0" in printed(comparison)
    assert "A gains most on s04 +0.0715" in printed(comparison)
    assert "A loses most on s03 -0.1409" in printed(comparison)


def test_five_groups_are_too_few_for_the_test_however_clear_the_difference(handed_on):
    keep(handed_on.run_a, [80, 81, 82, 83, 84])
    keep(handed_on.run_b, [70, 71, 72, 73, 74])
    comparison = compare(handed_on)
    assert comparison.paired.interval[0] > 0
    assert comparison.verdict == "cannot tell"
    assert "with 5 groups the test cannot give less than p = 0.062" in printed(comparison)


def test_groups_are_counted_and_not_samples(handed_on):
    keep(handed_on.run_a, [80, 81, 82, 83, 84, 85, 86, 87], per_group=4)
    keep(handed_on.run_b, [70, 71, 72, 73, 74, 75, 76, 77], per_group=4)
    comparison = compare(handed_on)
    assert (comparison.paired.n_groups, comparison.paired.test.n_flips) == (2, 4)
    assert comparison.verdict == "cannot tell"
    assert "only 2 groups: intervals of fewer than 5 mean little" in printed(comparison)


def test_one_group_alone_shows_nothing(handed_on):
    for run, hits in ((handed_on.run_a, [80, 90]), (handed_on.run_b, [70, 60])):
        keep(run, hits, per_group=2)
    assert "one group alone shows nothing" in printed(compare(handed_on))


@pytest.mark.parametrize(
    ("hits", "more", "message"),
    [
        ([70, 71], {}, r"on different samples of val \(only A: s02\); evaluate both on one cache"),
        ([70, 71, 72], {"truth": "other"}, "against other masks, or at another size: compare with --at native"),
        ([70, 71, 72], {"classes": ("gland",)}, r"on different classes \(foreground and gland\)"),
    ],
)
def test_different_samples_masks_and_classes_are_refused(handed_on, hits, more, message):
    keep(handed_on.run_a, [80, 81, 82])
    keep(handed_on.run_b, hits, **more)
    with pytest.raises(RunError, match=message):
        compare(handed_on)


def test_a_run_whose_cache_is_gone_needs_one_kept_evaluation(handed_on):
    keep(handed_on.run_a, [80, 81])
    keep(handed_on.run_b, [80, 81], split="test")
    with pytest.raises(RunError, match=r"b: keeps 0 evaluations on val at model size, .*say with --cache"):
        compare(handed_on)
    for caches in ("aa", "bb"):
        keep(handed_on.run_b, [80, 81], cache_digest=caches)
    with pytest.raises(RunError, match="b: keeps 2 evaluations on val"):
        compare(handed_on)
    with pytest.raises(CacheNotFoundError, match="no feature cache here"):
        compare(replace(handed_on, cache=handed_on.run_a.with_name("gone")))


@pytest.mark.slow
def test_what_is_not_kept_is_evaluated_on_the_cache_that_the_run_was_trained_on(tiny_cache, tmp_path, monkeypatch):
    said, run = [], tmp_path / "run"
    small = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 64, "epochs": 2, "device": "cpu"}
    train_head(TrainConfig(tiny_cache, run, head="pixel", **small))

    class Listening(Progress):
        def say(self, line):
            said.append(line)

    config = CompareConfig(run, run, device="cpu")
    comparison = compare(config, Listening())
    assert (comparison.paired.difference, comparison.paired.interval, comparison.paired.test.p_value) == (0, (0, 0), 1)
    assert comparison.verdict == "cannot tell"
    assert said[0] == f"{run}: evaluating on val"
    assert len(said) == 2  # the second time it is kept
    assert f"of these samples 2 were used to choose the epoch by {run}" in printed(comparison)
    monkeypatch.setattr(module, "evaluate", None)
    assert compare(replace(config, cache=tiny_cache)).to_dict() == comparison.to_dict()


def test_what_is_no_evaluation_is_refused(handed_on):
    keep(handed_on.run_a, [80, 81])
    path = kept_path(handed_on.run_a, "0123456789", split="val", at="model", text="true", tta=1)
    assert read_evaluation(path).scores["n"] == 2
    path.write_text("{}")
    with pytest.raises(
        RunError, match=r"val-model-true-1-01234567.json: not an evaluation .*run `textdiff evaluate` again"
    ):
        compare(handed_on)
