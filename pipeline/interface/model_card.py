"""The model card of a run: what a stranger must know before using its head, written from the run's own files."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..data.classes import Classes
from ..reports.sections import versions
from ..runs.folder import RunSummary, read_summary
from ..runs.run_config import RunConfig
from ..scoring.intervals import mean_intervals
from .hand_on import Extra, named_source

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCard

TASK = "image-segmentation"
TAGS = ("textdiff", "medical-imaging", "few-shot", "diffusion-features")
MEASURES = (("dice", "Dice"), ("iou", "IoU"))
NOT_INCLUDED = {
    "samples": "ids, groups and scores of single samples, and digests of texts and labels",
    "places": "the folders of the cache and of the frozen models",
    "report": "the report, which shows images",
}
LIMITS = """\
- Not a medical device, and not for clinical use: no figure here says how a diagnosis or a treatment would fare.
- The figures are of images like those of the training. Expect less from another scanner, stain, site or kind of
  patient, and measure it: `textdiff evaluate` scores the head on labelled images of your own.
- A mask is drawn for every image, also for one that shows none of the classes or nothing that the head has ever seen.
- The weights were fitted to the training images. Nobody has shown that nothing of these can be drawn from them."""


def model_card(run: Path, where: str, include: Collection[Extra] = (), licence: str | None = None) -> ModelCard:
    """Write the card of a run.

    Args:
        run: a finished run.
        where: what `Run.from_pretrained` is to be given, a hub id or a folder.
        include: what is handed on with the run.
        licence: of the weights, as the hub names licences (`mit`, `cc-by-nc-4.0`); `None`: the card states none.

    Raises:
        RunError: if the run is absent, unfinished or damaged.
    """
    from huggingface_hub import ModelCard, ModelCardData

    config, summary = RunConfig.read(run), read_summary(run)
    title = f"Segmentation of {_listed(summary.classes)}"
    data = ModelCardData(
        library_name="textdiff",
        pipeline_tag=TASK,
        tags=[*TAGS],
        license=licence,
        model_name=title,
        eval_results=list(_results(summary)) or None,
    )
    sections = (
        (title, _about(config, summary)),
        ("Figures", _figures(summary)),
        ("Use", _use(config, where)),
        ("Frozen models", _frozen_models(config)),
        ("Limits", LIMITS),
        ("Training", _training(config, summary)),
        ("Not in this folder", _left_out(include)),
        ("Versions", ", ".join(f"{name} {number}" for name, number in versions())),
    )
    text = "\n\n".join(f"{'#' * (1 + (i > 0))} {heading}\n\n{body}" for i, (heading, body) in enumerate(sections))
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}\n")


def _results(summary: RunSummary) -> Iterator[EvalResult]:
    """Figures for the hub's tables: of the test split alone, since others chose the epoch."""
    from huggingface_hub import EvalResult

    if test := summary.test:
        for name, label in MEASURES:
            yield EvalResult(
                task_type=TASK,
                dataset_type="own",
                dataset_name="test images of the training's data set",
                dataset_split="test",
                metric_type=name,
                metric_name=f"{label}, mean over images",
                metric_value=round(test[name], 4),
            )


def _about(config: RunConfig, summary: RunSummary) -> str:
    n_members = summary.ensemble
    kind = config.train["head"]
    head = f"An ensemble of {n_members} `{kind}` heads" if n_members > 1 else f"A `{kind}` head"
    reads = "an image and, if there is one, a text that describes it" if config.text == "true" else "an image"
    several = "each pixel's class among" if len(summary.classes) > 1 else "a mask of"
    return (
        f"{head} of textdiff ({summary.n_parameters:,} parameters) on the activations of frozen models. From {reads}, "
        f"it gives {several} {_listed(summary.classes)}, with probabilities and an uncertainty.\n\n"
        f"It learnt from {_counted(summary.n_train, 'labelled image')}; {_counted(summary.n_val, 'other')} "
        f"({summary.val_is}) chose the epoch."
    )


def _figures(summary: RunSummary) -> str:
    rows: list[Sequence[str]] = []
    if test := summary.test:
        note = f"{_counted(test['n'], 'test image')} of {_counted(test['n_groups'], 'group')}"
        for name, label in MEASURES:
            for key, how in ((name, "mean over images"), (f"micro_{name}", "pooled over pixels")):
                rows.append((f"{label}, {how}", _value(test[key]), _interval(test["intervals"][key]), note))
    rows.append(
        ("Dice, mean over images", _value(summary.val_dice), _interval(_val_interval(summary)), "chose the epoch")
    )
    head = ("figure", "value", "95 % interval over groups", "images")
    lines = ["| " + " | ".join(row) + " |" for row in (head, ("---",) * 4, *rows)]
    flattering = "Figures of images that chose the epoch are flattering."
    if not summary.test:
        flattering += " There were no test images: nothing says how good the head is on images that it never saw."
    return "\n".join([*lines, "", flattering])


def _val_interval(summary: RunSummary) -> Sequence[float] | None:
    if not summary.val_per_sample:
        return None
    values = np.array([[sample["dice"]] for sample in summary.val_per_sample])
    (interval,) = mean_intervals(values, [sample["group"] for sample in summary.val_per_sample])
    return interval


def _use(config: RunConfig, where: str) -> str:
    local = _local_sources(config)
    overrides = ", ".join(f"{name}={value}" for name, value in local.items())
    words = ', "a text that describes the image"' if config.text == "true" else ""
    note = (
        "\n\nModels named by a folder are not to be found by that name: say where yours are, and their digests are "
        "compared with those below."
        if local
        else ""
    )
    return (
        "    pip install textdiff\n\n```python\nimport textdiff as td\n\n"
        f'run = td.Run.from_pretrained("{where}")\n'
        f"segmenter = run.segmenter({overrides})\n"
        f'prediction = segmenter.predict("image.png"{words})\n'
        f"mask = prediction.mask  # at the image's size; {_values(config)}\n```{note}"
    )


def _local_sources(config: RunConfig) -> dict[str, str]:
    """Argument of `Run.segmenter` → its value, for models that lay in folders of the machine of the training."""
    local = {}
    if config.features.unet and named_source(config.features.unet) != config.features.unet:
        local["unet"] = f'"{named_source(config.features.unet)}"'
    encoders = [named_source(one.source) for one in config.encoders.values() if named_source(one.source) != one.source]
    if encoders:
        local["encoder"] = repr(encoders).replace("'", '"')
    if config.texts and config.text != "none" and named_source(config.texts.encoder) != config.texts.encoder:
        local["text_encoder"] = f'"{named_source(config.texts.encoder)}"'
    return local


def _values(config: RunConfig) -> str:
    classes = Classes.from_dict(config.classes)
    return ", ".join(f"{value} is {name}" for value, name in zip(classes.mask_values, classes.names, strict=True))


def _frozen_models(config: RunConfig) -> str:
    models: list[tuple[str, str, str]] = []
    if config.features.unet:
        models.append(("UNet", config.features.unet, config.features.unet_digest))
    models += [(f"image encoder {name}", one.source, one.digest) for name, one in config.encoders.items()]
    if config.texts and config.text != "none":
        models.append(("text encoder", config.texts.encoder, config.texts.encoder_digest))
    if not models:
        return "None: the head reads hand-crafted filters of the image alone."
    lines = ["| model | source | digest |", "|---|---|---|"]
    lines += [f"| {name} | `{named_source(source)}` | `{digest[:16]}` |" for name, source, digest in models]
    return "\n".join(lines) + (
        "\n\nThey are not in this folder. Their licences hold for them, and may hold for what is made with them: read "
        "these."
    )


def _training(config: RunConfig, summary: RunSummary) -> str:
    seen = []
    if config.blocks:
        blocks, timesteps = (", ".join(map(str, names)) for names in (config.blocks, config.timesteps))
        seen.append(f"blocks {blocks} of the UNet at timesteps {timesteps}")
    seen += [f"layers {', '.join(config.layers)}"] if config.layers else []
    seen += ["filters of the image"] if config.filters else []
    text = (
        summary.text.line()
        if summary.text
        else {"none": "without texts", "true": "with each image's own text"}.get(
            config.text, "with texts of other images, as a control"
        )
    )
    return (
        f"From a feature cache of images at {config.features.image_size} pixels: {_listed(seen)}; {text}. Epoch "
        f"{summary.best_epoch} of {summary.epochs}. All settings are in `config.json`, the epochs in `metrics.jsonl`."
    )


def _left_out(include: Collection[Extra]) -> str:
    lines = [f"- {text}" for name, text in NOT_INCLUDED.items() if name not in include]
    return "\n".join([*lines, "- the images, masks and texts of the training, and the cache"])


def _value(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _interval(ends: Sequence[float] | None) -> str:
    return "" if ends is None else "{:.3f} to {:.3f}".format(*ends)


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
