"""Loading of stage one: the frozen models of an extraction, or the same again for a trained head or a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from ...cache.format.blocks import Block, Pair, encoder_of, layer_number
from ...cache.format.spec import EncoderSpec, FeatureSpec
from ...errors import ConfigError, SourceError
from ...stages.encoders.encoder import ImageEncoder
from ...stages.encoders.loading import load_encoder
from ...stages.features.compression import Projection
from ...stages.precision import Precision
from ...stages.unet.noise import check_timesteps
from ...stages.unet.recorder import FrozenUNet, UNetRecorder, load_unet
from ..config.extraction import ExtractConfig
from ..runtime.device import resolve_device, resolve_precision
from .feature_extractor import EncoderRecorder, FeatureExtractor


def load_stage_one(config: ExtractConfig, cached: FeatureSpec | None = None) -> FeatureExtractor:
    """Load stage one for an extraction.

    Args:
        config: settings.
        cached: of the cache, where there is one; decides the precision where the settings leave it open, and is that of
            the UNet where no UNet was asked for.

    Raises:
        SourceError: if a model cannot be loaded.
        ConfigError: if blocks, timesteps, layers, image size or condition do not suit it.
    """
    device = resolve_device(config.device)
    precision = _precision(config, cached, device)
    recorder = _load_recorder(config, precision, device)
    encoders = _load_encoders(config, device)
    frozen = recorder.frozen if recorder else None
    spec = FeatureSpec(
        unet=absolute_source(config.unet) if config.unet else None,
        unet_config=None if config.unet_config is None else str(config.unet_config.resolve()),
        unet_digest=frozen.digest if frozen else "",
        prediction_type=frozen.prediction_type if frozen else "",
        noise=config.noise,
        noise_draws=config.noise_draws,
        seed=config.seed,
        image_size=config.side,
        window=config.window,
        dtype=config.dtype,
        rows_per_shard=config.batch_size,
        precision=precision,
        class_label=config.class_label,
        condition=_condition(config, frozen),
        pca=config.pca,
        tile=config.tile,
        colours=config.colours,
        tile_overlap=config.tile_overlap,
    )
    if frozen is None and cached is not None:
        spec = spec.with_unet_of(cached)  # as it is for rows and texts that are there
    return FeatureExtractor(recorder, encoders, spec, device)


def restore_stage_one(
    spec: FeatureSpec,
    encoders: Mapping[str, EncoderSpec],
    blocks: Sequence[Block],
    projections: Mapping[Pair, Projection],
    device: str,
    *,
    unet: str | None = None,
    unet_config: Path | None = None,
    encoder: Sequence[str] = (),
    offline: bool = False,
    compiled: bool = False,
) -> FeatureExtractor:
    """Load stage one as it made a cache, to do the same with other images.

    Args:
        spec: of the cache.
        encoders: of the cache, by name.
        blocks: of the UNet, and layers of encoders, to record; only models that have some are loaded.
        projections: those of the cache.
        device: where to run.
        unet: source of the same UNet, if it is not the spec's; checked by its digest.
        unet_config: of that UNet, if it is not the spec's.
        encoder: sources of the same encoders, if they are not those of their specs; they are known by their digests.
        offline: whether the network is forbidden.
        compiled: whether to run the UNet through torch.compile.

    Raises:
        SourceError: if a model cannot be loaded, or is not the same.
    """
    recorder, of_unet = None, [block for block in blocks if isinstance(block, int)]
    if of_unet:
        frozen = _same_unet(spec, device, unet, unet_config, offline=offline)
        recorder = UNetRecorder(frozen, of_unet, cast("Precision", spec.precision), compiled=compiled)
    given = {one.digest: one for one in (load_encoder(source, device, offline=offline) for source in encoder)}
    recorders = {}
    for name, layers in _layers_of(blocks).items():
        same = _same_encoder(name, encoders[name], given, device, offline=offline)
        recorders[name] = EncoderRecorder(same, layers, encoders[name])
    return FeatureExtractor(recorder, recorders, spec, device).projected(projections)


def absolute_source(source: str) -> str:
    """The source with a local path made whole, so that a run finds it from any working directory."""
    kind, _, where = source.partition(":")
    if kind == "timm" and "@" in where:
        model, _, file = where.partition("@")
        return f"{kind}:{model}@{Path(file).expanduser().resolve()}"
    path = Path(where).expanduser()
    return f"{kind}:{path.resolve()}" if path.exists() else source


def _load_recorder(config: ExtractConfig, precision: Precision, device: str) -> UNetRecorder | None:
    if config.unet is None:
        return None
    frozen = load_unet(
        config.unet,
        device,
        config=config.unet_config,
        class_label=config.class_label,
        bfloat16_weights=precision == "bfloat16-weights",
        offline=config.offline,
    )
    check_timesteps(config.timesteps, len(frozen.alphas_cumprod))
    recorder = UNetRecorder(frozen, config.blocks, precision, compiled=config.compile)
    recorder.noise_shape(config.side)  # refuses a size that the UNet cannot read
    return recorder


def _load_encoders(config: ExtractConfig, device: str) -> dict[str, EncoderRecorder]:
    """By name; the encoders asked for, with the layers asked for."""
    n_encoders, lists = len(config.encoder), config.encoder_layers
    layers = (None,) * n_encoders if lists is None else lists * (n_encoders if len(lists) == 1 else 1)
    loaded: dict[str, EncoderRecorder] = {}
    for source, asked in zip(map(absolute_source, config.encoder), layers, strict=True):
        encoder = load_encoder(source, device, offline=config.offline)
        encoder.check_layers(asked or ())
        if encoder.name in loaded:
            raise ConfigError(
                f"--encoder: {loaded[encoder.name].spec.source} and {source} would both be called {encoder.name} in "
                "the cache; rename one of the folders or files"
            )
        spec = EncoderSpec(source, encoder.digest, encoder.input_side(config.side))
        loaded[encoder.name] = EncoderRecorder(encoder, tuple(sorted(asked or encoder.default_layers)), spec)
    return loaded


def _same_unet(
    spec: FeatureSpec, device: str, unet: str | None, unet_config: Path | None, *, offline: bool
) -> FrozenUNet:
    source = unet or spec.unet
    if source is None:
        raise SourceError("the cached features were made without a UNet, and blocks of one are asked for")
    known = Path(spec.unet_config) if spec.unet_config and source.startswith("guided-diffusion:") else None
    try:
        frozen = load_unet(
            source,
            device,
            config=unet_config or known,
            class_label=spec.class_label,
            bfloat16_weights=spec.precision == "bfloat16-weights",
            offline=offline,
        )
    except SourceError as error:
        raise SourceError(f"{error}; if the UNet was moved, give its place with --unet (and --unet-config)") from error
    if frozen.digest != spec.unet_digest:
        raise SourceError(
            f"{source}: not the UNet that made the cached features (digest {frozen.digest[:12]}, expected "
            f"{spec.unet_digest[:12]}); give its place with --unet"
        )
    return frozen


def _same_encoder(
    name: str, spec: EncoderSpec, given: Mapping[str, ImageEncoder], device: str, *, offline: bool
) -> ImageEncoder:
    if spec.digest in given:
        return given[spec.digest]
    try:
        encoder = load_encoder(spec.source, device, offline=offline)
    except SourceError as error:
        raise SourceError(f"{error}; if the encoder {name} was moved, give its place with --encoder") from error
    if encoder.digest != spec.digest:
        raise SourceError(
            f"{spec.source}: not the encoder {name} that made the cached features (digest {encoder.digest[:12]}, "
            f"expected {spec.digest[:12]}); give its place with --encoder"
        )
    return encoder


def _layers_of(blocks: Sequence[Block]) -> dict[str, tuple[int, ...]]:
    """Encoder → its layers among the blocks."""
    layers: dict[str, tuple[int, ...]] = {}
    for block in blocks:
        if (name := encoder_of(block)) is not None:
            layers[name] = (*layers.get(name, ()), layer_number(block))
    return layers


def _precision(config: ExtractConfig, cached: FeatureSpec | None, device: str) -> Precision:
    if config.precision == "auto" and cached is not None:
        return cast("Precision", cached.precision)
    return cast("Precision", resolve_precision(config.precision, device))


def _condition(config: ExtractConfig, frozen: FrozenUNet | None) -> str:
    if frozen is not None and frozen.text_conditioned:
        return config.condition
    if config.condition == "own":
        raise ConfigError(f"--condition own: the UNet {config.unet} reads no text; leave it out")
    return "none"
