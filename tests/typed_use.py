"""A user's script for mypy, not for pytest: `make check` reads it as strictly as the package.

A line with `type: ignore` is one that mypy must refuse: it reports an ignore that is not needed.
"""

from pathlib import Path

import textdiff as td
from textdiff.config import TrainConfig

cache: td.Cache = td.extract_features("data", "cache", unet="diffusers:unet", blocks=[2, 4], timesteps=(5, 50))
run = td.train_head(cache, "run", head="context", ensemble=8, progress=True)
same: td.Run = td.train_head(TrainConfig(Path("cache"), Path("run")))
dice: object = run.evaluate(split="test", at="native").scores["dice"]
texts: list[str | None] = [sample.text for sample in cache.split("train")]
segmenter: td.Segmenter = td.Segmenter.load(run, encoder="timm:resnet18", device="cpu")
opened: td.Run = td.open_run(td.Run(run))
verdict: str = td.compare(run, same).verdict
pixels: list[int] = [
    found.mask.size for found in run.segmenter().predict_many(["a.png", Path("b.png")], "round nuclei")
]
classifier: td.HeadClassifier = td.HeadClassifier("context", epochs=20).fit(cache.split("train"))
score: float = classifier.score(cache.split("val"))
td.plot.overlay(cache["a"], classifier.predict(cache.split("val"))[0]).save("overlay.png")
first: list[str] = [sample.id for sample in td.open_cache(cache)[:2]]
last: str | None = cache[-1].text if "a" in cache else None
groups: list[str] = cache.pixels(n_per_image=100).groups.tolist()
td.HeadClassifier(epoch=20)  # type: ignore[call-arg]
td.train_head(cache, "run", head="cnn")  # type: ignore[call-overload]
td.train_head(cache, "run", epoch=3)  # type: ignore[call-overload]
td.train_head(cache)  # type: ignore[call-overload]
td.trainhead()  # type: ignore[attr-defined]
