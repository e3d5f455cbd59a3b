"""Heads as a classifier of scikit-learn: `cross_val_score`, `GridSearchCV`, `Pipeline`, on samples or on pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np
from jaxtyping import Shaped, UInt8
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ...cache.format.samples import IGNORE, SampleRow
from ...cache.reader import FeatureReader
from ...errors import DataError
from ..config.training import HeadKind, TextSetting, TrainConfig
from ..config.validation import TrainingPrecision
from ..config.values import read_config
from .caches import CachedSample
from .fitted_heads import HeadOfPixels, HeadOfSamples

Masks = list[UInt8[np.ndarray, "y x"]]
Labels = Shaped[np.ndarray, "pixel"]


class HeadClassifier(ClassifierMixin, BaseEstimator):
    """A head, trained as `train-head` trains it, with the interface of a scikit-learn classifier.

        scores = cross_val_score(td.HeadClassifier(epochs=20), cache.split("train"), cv=GroupKFold(5), groups=...)

    X is of one of two kinds, and each element of X gets an answer, in the same order.

    **Samples of a cache** (`cache.split("train")`): the labels are those of the cache, so that there is no y. A share
    of their groups, `val_fraction`, chooses the epoch, as `train-head --hold-out` does; unlabelled samples are left
    out. `predict` gives a mask of class indices for each sample, `predict_proba` its probabilities, `score` the mean
    Dice over labelled samples, as `evaluate` gives it at the model's size.

    **Rows of numbers** (`X, y, groups = cache.pixels()`, or any other matrix) with a label for each, of any type that
    NumPy sorts: the pixel head on the columns, which it standardises itself, without text, position and linear probe.
    Nothing is held out: the head is that of the last epoch. Classes are in the order of `classes_`; the loss is the
    cross-entropy and the Dice of all but the first. `predict` gives labels, `score` the accuracy. Of samples alone are
    `timesteps`, `blocks`, `sources`, `filters`, `position`, `text`, `text_dropout` and `val_fraction`.

    Fitting twice with one `random_state` gives equal weights. Parameters are the settings of `train-head` that concern
    the head; there is neither `head="auto"` nor a run folder.

    Args:
        head: `pixel`, `context` or `paper`; rows of numbers take `pixel` alone.
        ensemble: members of an ensemble of `pixel` or `context` heads.
        timesteps: cached timesteps to use; `None`: all.
        blocks: cached blocks to use; `None`: all.
        sources: frozen models to use; `None`: all.
        filters: whether the head sees the filters where they are cached.
        position: whether the head knows the place of a pixel.
        text: `auto`, `true`, `none` or `shuffled`.
        val_fraction: share of the groups that chooses the epoch.
        random_state: seed of initial weights, sampled pixels and draws; `None`: another each time.
        epochs: passes over the images; `None`: the head's own number, as of all settings that are `None`, and 5 for
            rows of numbers, which a longer training learns by heart.
        images_per_step: images in one step of the optimiser.
        pixels_per_image: pixels that `pixel` samples from each; of rows of numbers a step has as many for each of
            `images_per_step`.
        learning_rate: peak of AdamW's.
        weight_decay: of AdamW.
        width: channels of the head.
        n_attention_heads: of the attention to the text.
        text_dropout: probability of training on an image without its text.
        device: `auto`, `cpu`, `cuda`, ...
        precision: of the training: `auto`, `float32` or `bfloat16`.

    Attributes:
        classes_: names of the classes of samples, background first; of rows of numbers the sorted labels.
        head_: the trained head, a torch module in evaluation mode.
        history_: loss and check of each epoch.
        best_epoch_: the epoch that was chosen, counted from 1; of samples alone, as the next.
        val_dice_: Dice on the samples that chose it.
        n_features_in_: columns; of rows of numbers alone, as the next.
        feature_names_in_: names of the columns, where X was a frame.
    """

    _fitted: HeadOfSamples | HeadOfPixels

    def __init__(
        self,
        head: HeadKind = "pixel",
        *,
        ensemble: int = 1,
        timesteps: Sequence[int] | None = None,
        blocks: Sequence[int] | None = None,
        sources: Sequence[str] | None = None,
        filters: bool = True,
        position: bool = True,
        text: TextSetting = "auto",
        val_fraction: float = 0.2,
        random_state: int | np.random.RandomState | None = 0,
        epochs: int | None = None,
        images_per_step: int | None = None,
        pixels_per_image: int = 512,
        learning_rate: float | None = None,
        weight_decay: float | None = None,
        width: int | None = None,
        n_attention_heads: int = 8,
        text_dropout: float | None = None,
        device: str = "auto",
        precision: TrainingPrecision = "auto",
    ) -> None:
        self.head, self.ensemble = head, ensemble
        self.timesteps, self.blocks, self.sources = timesteps, blocks, sources
        self.filters, self.position, self.text = filters, position, text
        self.val_fraction, self.random_state = val_fraction, random_state
        self.epochs, self.images_per_step, self.pixels_per_image = epochs, images_per_step, pixels_per_image
        self.learning_rate, self.weight_decay, self.text_dropout = learning_rate, weight_decay, text_dropout
        self.width, self.n_attention_heads = width, n_attention_heads
        self.device, self.precision = device, precision

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ANN401, N803
        """Train the head.

        Args:
            X: samples of one cache, or rows of numbers (array or frame [row, column], finite).
            y: of rows of numbers their labels. Of samples `None`, or a value for each that only a splitter of
                scikit-learn looks at (a stratum, say).

        Raises:
            ConfigError: if a setting is out of range, or the head cannot be made for these features.
            DataError: if X is an empty list, too few groups are labelled, samples are of several caches, or y holds
                masks.
            ValueError: if rows of numbers and labels are not what scikit-learn takes.
        """
        if (samples := SampleList.of(X)) is None:
            return self._fit_pixels(X, y)
        if samples.reader is None:
            raise DataError("X is empty; give samples of a cache, or rows of numbers")
        if y is not None and any(np.ndim(one) for one in y):
            raise DataError("y holds masks, and the labels of samples are those of their cache; leave y out")
        fitted = HeadOfSamples.fit(samples.reader, samples.rows, self._config())
        self._forget()
        self._fitted = fitted
        self.head_, self.history_, self.classes_ = fitted.head, fitted.history, np.array(fitted.classes)
        self.best_epoch_, self.val_dice_ = fitted.best_epoch, fitted.val_dice
        return self

    def predict(self, X: Any) -> Masks | Labels:  # noqa: ANN401, N803
        """The likeliest class of each row of numbers; of each sample a mask of class indices, uint8 [y, x].

        Raises:
            NotFittedError: before `fit`.
            DataError: if X is not of the kind, or the cache, that the head was trained on.
        """
        if (rows := self._rows(X)) is not None:
            return [one.argmax(0).astype(np.uint8) for one in self._of_samples.probabilities(rows)]
        return cast("Labels", self.classes_[self.predict_proba(X).argmax(1)])

    def predict_proba(self, X: Any) -> Any:  # noqa: ANN401, N803
        """Probabilities: float32 [row, class] of rows of numbers, [class, y, x] of each sample.

        Raises:
            NotFittedError: before `fit`.
            DataError: if X is not of the kind, or the cache, that the head was trained on.
        """
        if (rows := self._rows(X)) is not None:
            return [*self._of_samples.probabilities(rows)]
        X = validate_data(self, X, dtype=np.float32, reset=False)  # noqa: N806
        return cast("HeadOfPixels", self._fitted).probabilities(X, len(self.classes_))

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:  # noqa: ANN401, N803
        """Mean Dice over labelled samples; of rows of numbers the accuracy.

        Args:
            X: as of `predict`.
            y: true labels of rows of numbers; not looked at of samples.
            sample_weight: of rows of numbers; `None`: all count alike.

        Raises:
            NotFittedError: before `fit`.
            DataError: as `predict`, or if no sample is labelled.
        """
        if (rows := self._rows(X)) is not None:
            return self._of_samples.dice(rows)
        return float(super().score(X, y, sample_weight))

    @property
    def _of_samples(self) -> HeadOfSamples:
        return cast("HeadOfSamples", self._fitted)

    def _fit_pixels(self, X: Any, y: Any) -> Self:  # noqa: ANN401, N803
        checked = clone(self)  # a fit that fails leaves the columns of an earlier one as they were
        X, y = validate_data(checked, X, y, dtype=np.float32)  # noqa: N806
        check_classification_targets(y)
        classes, labels = np.unique(y, return_inverse=True)
        if len(classes) > IGNORE:
            raise ValueError(f"y has {len(classes)} classes; expected at most {IGNORE}")
        fitted = HeadOfPixels.fit(X, labels.astype(np.uint8), len(classes), self._config())
        self._forget()
        self.__dict__.update({name: value for name, value in vars(checked).items() if name.endswith("_")})
        self._fitted = fitted
        self.head_, self.history_, self.classes_ = fitted.head, fitted.history, classes
        return self

    def _forget(self) -> None:
        """Drop what an earlier fit left."""
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)

    def _config(self) -> TrainConfig:
        given = self.get_params(deep=False)
        state = given.pop("random_state")
        seed = check_random_state(state).randint(2**31 - 1) if not isinstance(state, int | np.integer) else state
        return read_config(TrainConfig, {**given, "cache": "cache", "run": "run", "seed": seed})

    def _rows(self, X: Any) -> list[SampleRow] | None:  # noqa: ANN401, N803
        """Rows of samples; `None`: X is rows of numbers."""
        check_is_fitted(self, "classes_")
        samples = SampleList.of(X)
        if isinstance(self._fitted, HeadOfPixels):
            if samples is not None and samples.reader:
                raise DataError("X is samples, and the head was trained on rows of numbers; give such rows")
            return None
        if samples is None:
            raise DataError(f"X is {type(X).__name__}, and the head was trained on samples of a cache; give samples")
        trained_on = self._fitted.data.reader.root
        if samples.reader and samples.reader.root.resolve() != trained_on.resolve():
            raise DataError(
                f"samples of {samples.reader.root}, and the head was trained on {trained_on}; train a run "
                "(textdiff.train_head) for other caches"
            )
        return samples.rows


@dataclass(frozen=True)
class SampleList:
    """Samples of one cache, or an empty list."""

    reader: FeatureReader | None
    """`None`: there are no samples."""
    rows: list[SampleRow]

    @classmethod
    def of(cls, X: Any) -> SampleList | None:  # noqa: ANN401, N803
        """X as samples; `None`: it holds something else.

        Raises:
            DataError: if they are of several caches.
        """
        is_list = isinstance(X, Sequence) or (isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1)
        if not is_list or not all(isinstance(one, CachedSample) for one in X):
            return None
        readers = dict.fromkeys(one.reader for one in X)
        roots = sorted({str(reader.root.resolve()) for reader in readers})
        if len(roots) > 1:
            raise DataError(f"samples of {len(roots)} caches: {', '.join(roots)}; expected those of one")
        return cls(next(iter(readers), None), [one.row for one in X])
