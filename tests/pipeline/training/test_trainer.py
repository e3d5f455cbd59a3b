"""The loop that all kinds of head share, and what each kind does its own way."""

import copy
import re
from dataclasses import asdict, fields, replace

import pytest
import torch

from textdiff.cache.reader import FeatureReader
from textdiff.errors import ConfigError
from textdiff.pipeline.config.training import HEAD_DEFAULTS, HeadSettings, TrainConfig
from textdiff.pipeline.head_inputs.pixels import sample_batch
from textdiff.pipeline.head_inputs.scoring import score_samples
from textdiff.pipeline.head_inputs.splits import Split, choose_split
from textdiff.pipeline.interface.settings import field_docstrings
from textdiff.pipeline.training.schedule import schedule
from textdiff.pipeline.training.trainer import Trainer
from textdiff.stages.features.sampling import FILTERS, gather
from textdiff.stages.heads.loss import segmentation_loss
from textdiff.stages.heads.paper import stack_maps
from textdiff.stages.metrics.overlap import dice
from textdiff.stages.seeds import named_generator


@pytest.fixture
def config(tiny_cache, tmp_path):
    return TrainConfig(
        tiny_cache,
        tmp_path / "run",
        head="pixel",
        text="true",
        width=16,
        n_attention_heads=2,
        pixels_per_image=32,
        epochs=4,
        device="cpu",
    )


def opened(config):
    trainer = Trainer.from_config(config, FeatureReader(config.cache))
    return trainer, trainer.data, trainer.split


def steps_of(trainer, monkeypatch):
    """Of one epoch: the images and the learning rate of each step."""
    samples_of, rates, draw, learn = [], [], Trainer.draw, Trainer.learn

    def drawn(self, samples, *args):
        samples_of.append([sample.id for sample in samples])
        return draw(self, samples, *args)

    def learnt(self, *args):
        losses = learn(self, *args)
        rates.append(self.optimizer.param_groups[0]["lr"])
        return losses

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "draw", drawn)
        patch.setattr(Trainer, "learn", learnt)
        trainer.run_epoch()
    return list(zip(samples_of, rates, strict=True))


def test_the_papers_epoch_sees_each_image_once_at_a_constant_rate(config, monkeypatch):
    trainer, _, _ = opened(replace(config, head="paper"))
    for _ in range(2):
        steps = steps_of(trainer, monkeypatch)
        assert sorted(ids for ids, _ in steps) == [["train0"], ["train1"], ["train2"], ["train3"]]
        assert {rate for _, rate in steps} == {1e-4}


def test_the_pixel_heads_epoch_has_eight_steps_at_least_and_its_rate_follows_the_schedule(config, monkeypatch):
    trainer, _, _ = opened(replace(config, images_per_step=3, learning_rate=0.5))
    steps = steps_of(trainer, monkeypatch)
    assert [len(ids) for ids, _ in steps] == [3] * 8
    assert sorted(name for ids, _ in steps for name in ids) == sorted([f"train{i}" for i in range(4)] * 6)
    assert [rate for _, rate in steps] == pytest.approx([0.5 * schedule(i / 8 / 4) for i in range(8)])


def test_a_step_of_the_papers_head_is_adams_on_all_labelled_pixels(config):
    trainer, data, split = opened(replace(config, head="paper", learning_rate=0.01, precision="float32"))
    sample, other = split.train[0], copy.deepcopy(trainer.head).train()
    optimizer = torch.optim.Adam(other.parameters(), lr=0.01)
    trainer.head.train()
    stepped = trainer.step([sample], 0.0, named_generator(0, "any"))
    logits = other(stack_maps([data.maps(sample)]), data.size, *data.texts([sample]))[0]
    loss = segmentation_loss(logits.flatten(1).T, data.labels(sample).flatten(), data.ignore)
    loss.backward()
    optimizer.step()
    assert stepped == pytest.approx(float(loss.detach()), rel=1e-5)
    for name, weight in other.state_dict().items():
        torch.testing.assert_close(trainer.head.state_dict()[name], weight, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("head", ["pixel", "context", "paper"])
def test_a_check_changes_nothing_and_comes_to_the_same_each_time(config, head):
    trainer, _, _ = opened(replace(config, head=head))
    row = trainer.run_epoch()
    before = copy.deepcopy(trainer.head.state_dict())
    assert trainer.objective.check() == row[trainer.objective.check_name]
    assert not trainer.head.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainer.head.state_dict().items())


@pytest.mark.parametrize("head", ["pixel", "context", "paper"])
def test_the_finalist_that_is_best_on_whole_images_wins(config, head):
    trainer, data, split = opened(replace(config, head=head, learning_rate=5e-3))
    heads = []
    for _ in range(4):
        trainer.run_epoch()
        heads.append(copy.deepcopy(trainer.head))
    checked = [row[trainer.objective.check_name] for row in trainer.history]
    expected = sorted(range(4), key=lambda epoch: (-checked[epoch], epoch))[:2]
    assert [finalist.epoch - 1 for finalist in trainer.finalists] == expected
    best, val_dice = trainer.finish()
    means = {epoch: float(dice(score_samples(heads[epoch], data, split.val)).mean()) for epoch in expected}
    assert means[best.epoch - 1] == max(means.values()) == float(val_dice.mean())


def test_text_dropout_hides_texts_by_the_named_generator(config):
    trainer, data, split = opened(replace(config, text_dropout=0.5))
    generator, shown = named_generator(3, "texts"), torch.rand(4, generator=named_generator(3, "texts")) >= 0.5
    assert 0 < int(shown.sum()) < 4
    _, own = data.texts(split.train)
    _, mask = data.read_texts(trainer.objective._texts(split.train, generator))
    assert torch.equal(mask, own & shown[:, None])


def weighted(config, weights):
    """A trainer whose training samples have these weights, in turn."""
    reader = FeatureReader(config.cache)
    split = choose_split(reader, config)
    train = [replace(sample, weight=weight) for sample, weight in zip(split.train, weights, strict=True)]
    return Trainer.from_config(config, reader, Split(tuple(train), split.val))


@pytest.mark.parametrize("head", ["pixel", "context", "paper"])
def test_only_the_ratios_of_weights_count(config, head):
    weights_after = []
    for weights in ((1, 1, 1, 1), (2, 2, 2, 2), (1, 1, 4, 1)):
        trainer = weighted(replace(config, head=head), weights)
        trainer.run_epoch()
        weights_after.append(trainer.head.state_dict())
    assert all(torch.equal(tensor, weights_after[1][name]) for name, tensor in weights_after[0].items())
    assert any(not torch.equal(tensor, weights_after[2][name]) for name, tensor in weights_after[0].items())


def test_a_sample_alone_in_its_step_counts_by_its_weight_too(config):
    config = replace(config, head="paper", text_dropout=0.0)
    for i, share in enumerate((0.5, 1.5)):
        losses = []
        for weights in ((1, 3, 2, 2), (1, 1, 1, 1)):
            trainer = weighted(config, weights)
            losses.append(trainer.step([trainer.split.train[i]], 0.0, named_generator(0, "any")))
        # Up to the pixel that smooths Dice, which weighs 1 in either.
        assert losses[0] == pytest.approx(share * losses[1], rel=0.05)


def test_statistics_are_of_all_pixels_however_few_are_labelled(config):
    trainer, data, split = opened(replace(config, seed=1))
    maps = torch.stack([gather({1: data.maps(s)[1][:1]}, torch.arange(256), data.size)[1].float() for s in split.train])
    mean = maps.flatten(0, 1).mean(0)
    trainer.run_epoch()
    standardised_by = trainer.head.get_buffer("mean_1")[: len(mean)]
    torch.testing.assert_close(standardised_by, mean, atol=0.02 * float(maps.std()), rtol=0.02)


def test_sampled_labels_are_those_of_the_pixels_drawn(config):
    _, data, split = opened(config)
    batch = sample_batch(data, split.train[:2], 20, named_generator(0, "batch"))
    assert {block: x.shape[:2] for block, x in batch.features.items()} == {1: (2, 20), 3: (2, 20), FILTERS: (2, 20)}
    for i, sample in enumerate(split.train[:2]):
        assert torch.equal(batch.labels[i], data.labels(sample).flatten()[batch.pixels[i]])


def test_what_is_not_given_is_the_heads_own(config):
    assert replace(config, head="paper", width=None, epochs=None).settings == HEAD_DEFAULTS["paper"]
    assert config.settings == replace(HEAD_DEFAULTS["pixel"], width=16, epochs=4)
    assert replace(config, text_dropout=0.0).settings.text_dropout == 0.0
    with pytest.raises(ConfigError, match="--head got 'linear'; expected one of auto, pixel, context, paper"):
        replace(config, head="linear")


@pytest.mark.parametrize("name", [field.name for field in fields(HeadSettings)])
def test_help_names_the_defaults_of_every_head(name):
    """Numbers stand by the head's name; the number that several heads share stands first, without names."""
    text = field_docstrings(TrainConfig)[name].rpartition("`None`: ")[2].rstrip(".")
    named = re.findall(r"([\d.]+) for `(\w+)`", text)
    others = re.match(r"([\d.]+)(?: |,)(?!for)", text)
    defaults = {head: float(number) for number, head in named}
    for head, settings in HEAD_DEFAULTS.items():
        expected = defaults[head] if head in defaults else float(others[1].rstrip(","))
        assert expected == asdict(settings)[name]
