"""Runs that are absent, unfinished, damaged or others, and folders that hold something else."""

import json

import pytest
from safetensors.torch import load_file, save_file


def run(spoil, command=None, name="run"):
    """A command (by default `evaluate`) on a spoilt copy of the run."""

    def arrange(scene):
        scene.copy(name, "run")
        spoil(scene)
        return command(scene) if command else evaluate(scene)

    return arrange


def evaluate(scene):
    return ["evaluate", "run", str(scene.sound / "cache")]


def predict(*more):
    return lambda scene: ["predict", "run", str(scene.sound / "data/test0.png"), "masks", *more]


def on_sound_run(*more):
    """`predict` with the sound run."""
    return lambda s: ["predict", str(s.sound / "run"), str(s.sound / "data/test0.png"), "masks", *more]


def resume(*more):
    return lambda scene: scene.train("--resume", *more, cache=str(scene.sound / "cache"), run="run")


def remove(*names):
    return lambda scene: [(scene.here / "run" / name).unlink() for name in names]


def half(name):
    return lambda scene: scene.edit(f"run/{name}", lambda content: content[: len(content) // 2])


def config(**fields):
    return lambda scene: scene.edit_json("run/config.json", **fields)


def write(name, content):
    return lambda scene: scene.write(f"run/{name}", content)


def unfinished(state):
    """A run that has no summary yet, with a state of this kind to go on from."""

    def spoil(scene):
        remove("summary.json")(scene)
        write("resume.safetensors", state)(scene)

    return spoil


def other_weights(scene):
    tensors = load_file(scene.here / "run/head.safetensors")
    first = sorted(tensors)[0]
    save_file({**tensors, first: tensors[first][:1].clone()}, scene.here / "run/head.safetensors")


def state(path, **told):
    """A file of a resume with other content."""
    return lambda scene: save_file({}, scene.here / "run/resume.safetensors", {"state": json.dumps(told)})


def texts(content):
    return lambda s: [*on_sound_run("--texts", s.write("texts.csv", content))(s)]


def ours(record):
    """A folder of masks with this record."""

    def arrange(scene):
        scene.write("masks/predictions.json", record)
        scene.write("masks/test0.png", "mine")
        return on_sound_run()(scene)

    return arrange


NOT_A_CONFIG = "config.json: not the configuration of a run"

RUNS = {
    "nothing at the path": (
        lambda s: ["evaluate", "gone", str(s.sound / "cache")],
        "gone: no run here (config.json is missing); make one with",
    ),
    "a file for a run": (lambda s: ["evaluate", s.write("file"), str(s.sound / "cache")], "file: no run here"),
    "a cache for a run": (lambda s: ["evaluate", str(s.sound / "cache"), str(s.sound / "cache")], "cache: no run here"),
    "no config": (run(remove("config.json")), "run: no run here (config.json is missing)"),
    "half a config": (run(half("config.json")), NOT_A_CONFIG),
    "a config that is a list": (run(write("config.json", "[]")), NOT_A_CONFIG),
    "a config of brackets": (run(write("config.json", "[" * 100_000)), NOT_A_CONFIG),
    "a config without a head": (run(config(head=None)), NOT_A_CONFIG),
    "a config of a list of channels": (run(config(head__channels=[1, 2])), NOT_A_CONFIG),
    "a config with a field too many": (run(config(head__depth=3)), NOT_A_CONFIG),
    "a head that nobody knows": (
        run(config(train__head="oracle")),
        "--head got 'oracle'; expected one of auto, pixel, context, paper",
    ),
    "a head without a width": (run(config(head__width=0)), "width is 0"),
    "a head of a width in words": (run(config(head__width="wide")), "Expected `int`, got `str` - at `$.head.width`"),
    "no members": (run(config(train__ensemble=0)), "--ensemble got 0; expected at least 1"),
    "classes of nonsense": (run(config(classes={"classes": 3}), predict()), 'there is no object "classes"'),
    "no weights": (run(remove("head.safetensors")), "head.safetensors: not the weights of this run's head"),
    "half the weights": (run(half("head.safetensors")), "head.safetensors: not the weights of this run's head"),
    "weights of another head": (run(other_weights), "head.safetensors: not the weights of this run's head"),
    "a training under way": (
        run(remove("summary.json")),
        "its training did not finish; repeat the `textdiff train-head` command with --resume",
    ),
    "another kind of cache": (
        run(config(features__seed=41)),
        "not the kind of cache that the head was trained on: - seed: the cache has 40, this request needs 41",
    ),
    "a run that is there": (
        run(lambda s: None, lambda s: s.train(cache=str(s.sound / "cache"), run="run")),
        "run: holds a finished run; give a new name",
    ),
    "a training that is there": (
        run(remove("summary.json"), lambda s: s.train(cache=str(s.sound / "cache"), run="run")),
        "run: holds a run that did not finish; give a new name, or add --resume",
    ),
    "something else for a run": (
        lambda s: s.train(cache=str(s.sound / "cache"), run=s.write("mine/notes").split("/")[0]),
        "mine: exists and is not a run; give a new name",
    ),
    "a file to train into": (
        lambda s: s.train(cache=str(s.sound / "cache"), run=s.write("file")),
        "file: exists and is not a run",
    ),
    "other settings to go on": (
        run(lambda s: None, resume("--seed", "9")),
        "train.seed: the run has 0, this command says 9",
    ),
    "half a summary": (run(half("summary.json"), resume()), "summary.json: not the summary of a run"),
    "no state but letters": (run(unfinished("state"), resume()), "resume.safetensors: not the state of this training"),
    "a state without tensors": (
        run(lambda s: [remove("summary.json")(s), state("")(s)], resume()),
        "resume.safetensors: not the state of this training",
    ),
    "a state of another head": (
        run(lambda s: [remove("summary.json")(s), state("", history=[], finalists=[])(s)], resume()),
        "resume.safetensors: not the state of this training",
    ),
    "a run without texts and a text": (
        run(lambda s: None, predict("--text", "round"), "textless"),
        "a text was given, but the head was trained without texts; leave it out",
    ),
    "a run without texts, scored with": (
        run(lambda s: None, lambda s: [*evaluate(s), "--text", "true"], "textless"),
        "was trained without texts; leave --text out",
    ),
    "a run without texts to explain": (
        run(lambda s: None, lambda s: ["explain", "run", str(s.sound / "data/test0.png"), "--text", "a"], "textless"),
        "trained without texts",
    ),
    "no UNet where the run has it": (
        run(config(features__unet="diffusers:./gone"), predict()),
        "if the UNet was moved, give its place with --unet",
    ),
    "another UNet": (
        run(config(features__unet_digest="f" * 64), predict()),
        "not the UNet that made the cached features",
    ),
    "another encoder": (
        run(config(texts__encoder_digest="f" * 64), predict("--text", "round")),
        "not the text encoder that the head was trained with",
    ),
    "runs that cannot be compared": (
        lambda s: ["compare", str(s.sound / "run"), "gone"],
        "gone: no run here",
    ),
    "a split that is not labelled": (
        lambda s: ["evaluate", str(s.sound / "run"), str(s.sound / "cache"), "--split", "val", "--tta", "3"],
        "--tta got 3",
    ),
}

IMAGES = {
    "no image": (
        lambda s: ["predict", str(s.sound / "run"), "gone.png", "masks"],
        "gone.png does not exist; expected an image or a folder of images",
    ),
    "a folder without images": (
        lambda s: ["predict", str(s.sound / "run"), s.write("a/notes").split("/")[0], "masks"],
        "a holds no images (left out: notes (empty)); expected PNG",
    ),
    "text for an image": (
        lambda s: ["predict", str(s.sound / "run"), s.write("a.png", "text"), "masks"],
        "1 of 1 images cannot be used; mend or remove them",
    ),
    "two images of one name": (
        lambda s: [s.write("i/a.png"), s.write("i/a.jpg"), "predict", str(s.sound / "run"), "i", "masks"][2:],
        "these names stand for several images; rename them",
    ),
    "a file for masks": (
        lambda s: ["predict", str(s.sound / "run"), str(s.sound / "data/test0.png"), s.write("masks")],
        "masks",
    ),
    "masks that are not ours": (
        lambda s: (s.write("masks/test0.png", "mine"), on_sound_run()(s))[1],
        "masks would replace files that stand there; give another folder",
    ),
    "half a record of masks": (ours('{"masks"'), "predictions.json"),
    "a record that is a list": (ours("[]"), "predictions.json"),
    "an empty text": (on_sound_run("--text", " "), "empty; leave the text out instead"),
    "a text that is too long": (on_sound_run("--text", "nuclei " * 40), "tokens; shorten it to 32"),
    "no table of texts": (on_sound_run("--texts", "gone.csv"), "gone.csv cannot be read: No such file or directory"),
    "a table without its columns": (texts("Name,Text\n"), "missing columns 'image', 'description'"),
    "a table without the image": (texts("Image,Description\nb.png,round\n"), "no row for test0.png; add one"),
    "a table of empty texts": (
        texts("Image,Description\ntest0.png,\n"),
        "empty text for 'test0.png'; write a Description",
    ),
    "a mask of another size to explain": (
        lambda s: [
            "explain",
            str(s.sound / "run"),
            str(s.sound / "data/test0.png"),
            "--text",
            "round",
            "--mask",
            s.write("m.png", (s.sound / "lvit/Val_Folder/labelcol/c.png").read_bytes()),
        ],
        "m.png",
    ),
    "a class that is not there": (
        lambda s: [
            "explain",
            str(s.sound / "run"),
            str(s.sound / "data/test0.png"),
            "--text",
            "round",
            "--target",
            "liver",
        ],
        "liver",
    ),
}

ABLATIONS = {
    "something else for an ablation": (
        lambda s: ["ablate-timesteps", str(s.sound / "cache"), s.write("mine/notes").split("/")[0]],
        "mine: exists and is not an ablation; give a new name",
    ),
    "a file for an ablation": (
        lambda s: ["ablate-timesteps", str(s.sound / "cache"), s.write("file")],
        "file: exists and is not an ablation",
    ),
    "half a record": (
        lambda s: ["ablate-timesteps", str(s.sound / "cache"), s.write("out/heads.jsonl", "{\n").split("/")[0]],
        "heads.jsonl: not a journal of finished heads",
    ),
    "more folds than groups": (lambda s: ["ablate-timesteps", str(s.sound / "cache"), "out", "--folds", "9"], "9"),
}

PRETRAINING = {
    "nothing to learn from": (lambda s: ["pretrain-unet", "gone", "out"], "gone does not exist"),
    "a finished UNet in the way": (
        lambda s: ["pretrain-unet", str(s.sound / "data"), str(s.copy("unet").relative_to(s.here))],
        "unet holds a finished UNet; give another folder",
    ),
    "something else in the way": (
        lambda s: ["pretrain-unet", str(s.sound / "data"), s.write("mine/notes").split("/")[0]],
        "mine holds something else already",
    ),
    "images smaller than a crop": (
        lambda s: ["pretrain-unet", str(s.sound / "data"), "out"],
        "is 24x20 pixels; expected at least the crop's 32 on each side",
    ),
    "half a record of what was begun": (
        lambda s: [s.write("out/checkpoint/begun.json", '{"sett'), *pretrain(s)][1:],
        "begun.json",
    ),
    "half a state": (
        lambda s: (begun(s), s.write("out/checkpoint/state.safetensors", "half"), pretrain(s))[2],
        "state.safetensors",
    ),
}


def pretrain(scene):
    small = ("--image-size", "16", "--crop", "16", "--channels", "8,16", "--steps", "2", "--device", "cpu")
    return ["pretrain-unet", str(scene.sound / "data"), "out", *small, "--resume"]


def begun(scene):
    """What a training that was killed in its first step leaves."""
    from textdiff.pipeline.config.unets import PretrainConfig
    from textdiff.pipeline.unets.pretrain import Pretraining, pretrain_unet

    def killed(*_):
        raise KeyboardInterrupt

    small = {"image_size": 16, "crop": 16, "channels": (8, 16), "steps": 2, "device": "cpu"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pretraining, "advance", killed)
        with pytest.raises(KeyboardInterrupt):
            pretrain_unet(PretrainConfig(scene.sound / "data", scene.here / "out", **small))


TABLE = {**RUNS, **IMAGES, **ABLATIONS, **PRETRAINING}


@pytest.mark.parametrize("row", TABLE)
def test_a_run_that_cannot_be_used_is_refused(refused, row):
    refused(*TABLE[row])
