"""Flags that are unknown or malformed (exit code 2), and settings that are out of range or contradictory (1)."""

import pytest

EXTRACT = ["extract-features", "data", "cache", "--unet", "diffusers:x"]
TRAIN = ["train-head", "cache", "run"]
ABLATE = ["ablate-timesteps", "cache", "out"]
PRETRAIN = ["pretrain-unet", "images", "out"]
PREDICT = ["predict", "run", "images", "out"]

USAGE = {
    "no such command": (["segment"], "No such command 'segment'"),
    "no such flag": ([*TRAIN, "--depth", "3"], "No such option: --depth"),
    "an argument too few": (["train-head", "cache"], "Missing argument"),
    "an argument too many": ([*TRAIN, "more"], "Got unexpected extra argument"),
    "no text": (["explain", "run", "image"], "Missing option '--text'"),
    "text for a number": ([*TRAIN, "--epochs", "many"], "--epochs"),
    "half a number": ([*TRAIN, "--epochs", "1.5"], "--epochs"),
    "text for numbers": ([*TRAIN, "--timesteps", "50;150"], "--timesteps got '50;150'; expected N,N,..."),
    "numbers that end in a comma": ([*EXTRACT, "--blocks", "6,8,"], "--blocks got '6,8,'; expected N,N,..."),
    "two lists that are none": (
        [*TRAIN, "--timesteps", "a", "--blocks", "b"],
        "--timesteps got 'a'; expected N,N,...; --blocks got 'b'",
    ),
    "text for subsets": ([*ABLATE, "--subsets", "a,b"], "--subsets got 'a,b'; expected N;N,N;..."),
    "a window of three": (["check-data", "data", "--window", "1,2,3"], "--window got '1,2,3'; expected LOW,HIGH"),
    "a choice that is none": ([*TRAIN, "--text", "perhaps"], "'perhaps' is not one of"),
    "a head that is none": ([*TRAIN, "--head", "oracle"], "'oracle' is not one of"),
    "a preset that is none": ([*EXTRACT, "--preset", "best"], "'best' is not one of"),
    "a split that is none": (["evaluate", "run", "cache", "--split", "all"], "'all' is not one of"),
    "a flag without its value": ([*TRAIN, "--epochs"], "--epochs"),
    "nothing to label": (["label"], "Missing argument"),
    "no port": (["label", "data", "--port", "http"], "--port"),
}

CONTRADICTIONS = {
    "a timestep twice": (
        [*EXTRACT, "--timesteps", "50,50"],
        "--timesteps got 50,50; expected distinct numbers of at least 0",
    ),
    "a port beyond any": (["label", "data", "--port", "70000"], "--port got 70000; expected a number from 0 to 65535"),
    "an annotator with a path": (
        ["label", "data", "--annotator", "a/b"],
        "--annotator got 'a/b'; expected 1 to 40 letters, digits, hyphens and underscores",
    ),
    "labels to merge with nothing": (["merge-labels", "a"], "merge-labels got 1 data set; expected at least two"),
    "a timestep below 0": ([*EXTRACT, "--timesteps=-1"], "--timesteps got -1; expected distinct numbers of at least 0"),
    "no images in a batch": ([*EXTRACT, "--batch-size", "0"], "--batch-size got 0; expected at least 1"),
    "a size below any": ([*EXTRACT, "--image-size", "4"], "--image-size got 4; expected at least 8"),
    "an overlap without tiles": ([*EXTRACT, "--tile-overlap", "8"], "--tile-overlap got 8 without --tile; give both"),
    "an overlap as large as tiles": (
        [*EXTRACT, "--tile", "64", "--tile-overlap", "64"],
        "expected a number from 0 to 63",
    ),
    "three views": ([*EXTRACT, "--views", "3"], "--views got 3"),
    "views of nothing": (
        [*EXTRACT, "--views-of", "all"],
        "--views-of got all without --views; give --views 2, 4 or 8 too",
    ),
    "no noise": ([*EXTRACT, "--noise-draws", "0"], "--noise-draws got 0; expected at least 1"),
    "an empty window": ([*EXTRACT, "--window", "300,300"], "--window got 300,300; expected LOW,HIGH"),
    "no frozen model": (
        ["extract-features", "data", "cache"],
        "--unet and --encoder are both absent; give at least one",
    ),
    "a class below 0": ([*EXTRACT, "--class-label=-1"], "--class-label got -1; expected at least 0"),
    "several at once": (
        [*EXTRACT, "--batch-size", "0", "--views", "3", "--pca", "0"],
        "--pca got 0; expected at least 1",
    ),
    "no epochs": ([*TRAIN, "--epochs", "0"], "--epochs got 0; expected at least 1"),
    "not a width of heads": ([*TRAIN, "--width", "10", "--n-attention-heads", "4"], "--width got 10"),
    "all text dropped": ([*TRAIN, "--text-dropout", "2"], "--text-dropout got 2.0; expected a number from 0"),
    "no learning": ([*TRAIN, "--learning-rate", "nan"], "--learning-rate got nan"),
    "all held out": ([*TRAIN, "--val-fraction", "1"], "--val-fraction got 1.0"),
    "no labels": ([*TRAIN, "--n-labelled", "0"], "--n-labelled got 0"),
    "an ensemble of paper heads": (
        [*TRAIN, "--head", "paper", "--ensemble", "3"],
        "--ensemble got 3; --head paper is trained alone",
    ),
    "a subset twice": (
        [*ABLATE, "--subsets", "50,150;150,50"],
        "--subsets names 50,150 more than once; name each subset once",
    ),
    "subsets and a grid": ([*ABLATE, "--subsets", "50", "--grid", "pairs"], "--subsets and --grid were both given"),
    "subsets of texts": (
        [*ABLATE, "--over", "text", "--subsets", "50"],
        "--over text compares true, none and shuffled texts; leave --subsets out",
    ),
    "one fold": ([*ABLATE, "--folds", "1"], "--folds got 1; expected at least 2"),
    "a seed twice": ([*ABLATE, "--seeds", "1,1"], "--seeds got 1,1; expected distinct numbers"),
    "channels of no group": (
        [*PRETRAIN, "--channels", "30"],
        "--channels got 30; expected a positive multiple of the 8 groups",
    ),
    "a crop beyond the image": (
        [*PRETRAIN, "--image-size", "64", "--crop", "128"],
        "--crop got 128; expected a number from 8 to 64",
    ),
    "no decay": ([*PRETRAIN, "--ema-decay", "1"], "--ema-decay got 1.0; expected a number from 0.0 to 0.99999"),
    "two ways of texts": (
        [*PREDICT, "--text", "a", "--texts", "b.csv"],
        "--text and --texts were both given; give one of them",
    ),
    "three turns": ([*PREDICT, "--tta", "3"], "--tta got 3"),
    "nothing to suggest": (["suggest", "cache", "run", "--n", "0"], "--n got 0; expected at least 1"),
    "an empty text to explain": (
        ["explain", "run", "image", "--text", " "],
        "--text got ' '; expected at least one word",
    ),
    "an archive that is not written": (
        ["cache", "export", "cache", "cache.zip"],
        "cache.zip: got the name of an archive; expected .h5, .hdf5 or a folder, which you may pack",
    ),
    "arrays without a folder": (
        ["explain", "run", "image", "--text", "a", "--arrays"],
        "--arrays was given without --out; give a folder too",
    ),
}


@pytest.mark.parametrize("row", USAGE)
def test_wrong_usage_ends_with_2(refused, row):
    arguments, message = USAGE[row]
    refused(lambda _: arguments, message, code=2)


@pytest.mark.parametrize("row", CONTRADICTIONS)
def test_a_contradiction_ends_with_1(refused, row):
    arguments, message = CONTRADICTIONS[row]
    refused(lambda _: arguments, message)
