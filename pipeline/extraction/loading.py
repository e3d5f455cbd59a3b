"""Loading of stage one: the UNet of an extraction, or the same again for a trained head or a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from ...cache.format.spec import FeatureSpec
from ...errors import ConfigError, SourceError
from ...stages.features.compression import Projection
from ...stages.unet.noise import check_timesteps
from ...stages.unet.recorder import FrozenUNet, Precision, UNetRecorder, load_unet
from ..config.extraction import ExtractConfig
from ..runtime.device import resolve_device
from .feature_extractor import FeatureExtractor, Pair


def load_stage_one(config: ExtractConfig, cached: FeatureSpec | None = None) -> FeatureExtractor:
    """Load stage one for an extraction.

    Args:
        config: settings.
        cached: of the cache, where there is one; decides the precision where the settings leave it open.

    Raises:
        SourceError: if the UNet cannot be loaded.
        ConfigError: if blocks, timesteps, image size or condition do not suit it.
    """
    device = resolve_device(config.device)
    frozen = load_unet(
        config.unet, device, config=config.unet_config, class_label=config.class_label, offline=config.offline
    )
    check_timesteps(config.timesteps, len(frozen.alphas_cumprod))
    precision = _precision(config, cached, device)
    recorder = UNetRecorder(frozen, config.blocks, precision, compiled=config.compile)
    recorder.noise_shape(config.side)  # refuses a size that the UNet cannot read
    spec = FeatureSpec(
        unet=absolute_source(config.unet),
        unet_config=None if config.unet_config is None else str(config.unet_config.resolve()),
        unet_digest=frozen.digest,
        prediction_type=frozen.prediction_type,
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
    return FeatureExtractor(frozen, recorder, spec, device)


def restore_stage_one(
    spec: FeatureSpec,
    blocks: Sequence[int],
    projections: Mapping[Pair, Projection],
    device: str,
    *,
    unet: str | None = None,
    unet_config: Path | None = None,
    offline: bool = False,
    compiled: bool = False,
) -> FeatureExtractor:
    """Load stage one as it made a cache, to do the same with other images.

    Args:
        spec: of the cache.
        blocks: to record.
        projections: those of the cache.
        device: where to run.
        unet: source of the same UNet, if it is not the spec's; checked by its digest.
        unet_config: of that UNet, if it is not the spec's.
        offline: whether the network is forbidden.
        compiled: whether to run the UNet through torch.compile.

    Raises:
        SourceError: if the UNet cannot be loaded, or is not the same.
    """
    source = unet or spec.unet
    known = Path(spec.unet_config) if spec.unet_config and source.startswith("guided-diffusion:") else None
    try:
        frozen = load_unet(source, device, config=unet_config or known, class_label=spec.class_label, offline=offline)
    except SourceError as error:
        raise SourceError(f"{error}; if the UNet was moved, give its place with --unet (and --unet-config)") from error
    if frozen.digest != spec.unet_digest:
        raise SourceError(
            f"{source}: not the UNet that made the cached features (digest {frozen.digest[:12]}, expected "
            f"{spec.unet_digest[:12]}); give its place with --unet"
        )
    recorder = UNetRecorder(frozen, blocks, cast("Precision", spec.precision), compiled=compiled)
    return FeatureExtractor(frozen, recorder, spec, device).projected(projections)


def absolute_source(source: str) -> str:
    """The source with a local path made whole, so that a run finds it from any working directory."""
    kind, _, where = source.partition(":")
    path = Path(where).expanduser()
    return f"{kind}:{path.resolve()}" if path.exists() else source


def _precision(config: ExtractConfig, cached: FeatureSpec | None, device: str) -> Precision:
    if config.precision != "auto":
        return config.precision
    if cached is not None:
        return cast("Precision", cached.precision)
    return "bfloat16" if device.startswith("cuda") else "float32"


def _condition(config: ExtractConfig, frozen: FrozenUNet) -> str:
    if frozen.text_conditioned:
        return config.condition
    if config.condition == "own":
        raise ConfigError(f"--condition own: the UNet {config.unet} reads no text; leave it out")
    return "none"
