"""`textdiff export-head`: a run's head as one ONNX file, compared with the head before it is written.

The file holds tensors and standard operators, no code; names, digests and the command stand in its metadata.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ... import __version__
from ...cache.storage.atomic import canonical_json, write_durably
from ...errors import ConfigError, RunError
from ..config.command_line import command_line
from ..config.prediction import ExportHeadConfig
from ..data.classes import Classes
from ..runtime.results import Result
from .head_graph import TOKEN_AXIS, TOKEN_MASK, GraphInput, HeadGraph, draw_arrays, graph_inputs
from .heads import load_head
from .run_config import HEAD, RunConfig

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor

KINDS = ("pixel", "context")
LIBRARIES = ("onnx", "onnxscript", "onnxruntime")
OPSET = 18
OUTPUT = "probabilities"
TOLERANCE = 1e-4
"""Largest difference of a probability between the file under onnxruntime and the head."""


@dataclass(frozen=True)
class HeadExport(Result):
    """Result of `export-head`."""

    out: Path
    size_bytes: int
    inputs: tuple[GraphInput, ...]
    largest_difference: float
    """Of a probability, between the file under onnxruntime and the head, on arrays that were drawn by chance."""

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {**asdict(self), "out": str(self.out)}

    def lines(self) -> list[str]:
        """For the terminal."""
        return [
            f"{self.out}: {self.size_bytes / 1e6:.1f} MB; probabilities differ from the head's by at most "
            f"{self.largest_difference:.0e}",
            *(f"  {one.name}: {one.dtype} [{', '.join(map(str, one.shape))}], {one.about}" for one in self.inputs),
        ]


def export_head(config: ExportHeadConfig) -> HeadExport:
    """Write a run's head as an ONNX file.

    Raises:
        ConfigError: if libraries are not installed.
        RunError: if the run is none, its head is of another kind, a file is in the way, or the graph differs.
    """
    _require_libraries()
    run = RunConfig.read(config.run)
    _refuse(config, run.train["head"])
    head = load_head(config.run, run, "cpu")
    head.precision = "float32"
    graph = HeadGraph(head, run).eval()
    model = to_onnx(graph, run)
    model.doc_string = "Segmentation head of textdiff; probabilities [class, y, x] from arrays of a feature cache."
    for key, value in _metadata(config, run).items():
        model.metadata_props.add(key=key, value=value)
    content = model.SerializeToString(deterministic=True)
    difference = largest_difference(content, graph, run)
    if not difference <= TOLERANCE:
        raise RunError(
            f"{config.run}: the graph's probabilities differ from the head's by {difference:.1e}; expected at most "
            f"{TOLERANCE:.0e}; nothing was written: try other versions of {', '.join(LIBRARIES)}"
        )
    return HeadExport(config.out, write_durably(config.out, [content]), graph_inputs(run), difference)


def _require_libraries() -> None:
    if absent := [name for name in LIBRARIES if find_spec(name) is None]:
        raise ConfigError(f"`textdiff export-head` needs {', '.join(absent)}: pip install 'textdiff[onnx]'")


def _refuse(config: ExportHeadConfig, kind: str) -> None:
    """Refuse a head that has no graph, and a file in the way."""
    if kind not in KINDS:
        raise RunError(
            f"{config.run}: got a head of kind {kind}, which stacks all activations at full resolution and is for "
            f"comparison alone; expected {' or '.join(KINDS)}: train one with `textdiff train-head --head {KINDS[0]}`"
        )
    if config.out.exists():
        raise RunError(f"{config.out}: exists; give a new name, or remove it")


@torch.no_grad()
def to_onnx(graph: HeadGraph, run: RunConfig) -> ModelProto:
    """The graph of a head; sizes of named axes and numbers of tokens are free."""
    inputs = graph_inputs(run)
    example = draw_arrays(graph, run, {TOKEN_AXIS: 5}, torch.Generator().manual_seed(0))
    axes = {name: torch.export.Dim(name, min=1) for one in inputs for name in one.shape if isinstance(name, str)}
    free = {one.name: {i: axes[n] for i, n in enumerate(one.shape) if isinstance(n, str)} for one in inputs}
    program = torch.onnx.export(
        torch.export.export(graph, (example,), dynamic_shapes={"arrays": free}, strict=False),
        dynamo=True, opset_version=OPSET, verbose=False,
        input_names=[one.name for one in inputs], output_names=[OUTPUT],
    )  # fmt: skip
    assert program is not None
    model = program.model_proto
    _remove_traces(model)
    return model


def _remove_traces(model: ModelProto) -> None:
    """Remove what the exporter notes of each step: lines and paths of the program on this machine."""
    graphs = [model.graph, *model.functions]
    for part in [*graphs, *(node for one in graphs for node in one.node), *model.graph.value_info, *model.graph.input]:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    del model.graph.value_info[:]


def largest_difference(content: bytes, graph: HeadGraph, run: RunConfig) -> float:
    """Largest difference of a probability between an ONNX file under onnxruntime and the head.

    Of arrays that are drawn by chance, for texts of several lengths and for none, in maps of two sizes.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(1)
    return max(
        float((torch.from_numpy(_run(session, arrays)) - _of_head(graph, arrays)).abs().max())
        for arrays in _trials(graph, run, generator)
    )


def _trials(graph: HeadGraph, run: RunConfig, generator: torch.Generator) -> Iterator[dict[str, Tensor]]:
    side = run.features.image_size
    axes = {name for one in graph_inputs(run) for name in one.shape if isinstance(name, str)}
    for n_tokens, stride in ((1, 8), (20, 16)):
        sizes = dict.fromkeys(axes, max(1, side // stride)) | {TOKEN_AXIS: n_tokens}
        arrays = draw_arrays(graph, run, sizes, generator)
        yield arrays
    if TOKEN_MASK in arrays:
        yield arrays | {TOKEN_MASK: torch.zeros_like(arrays[TOKEN_MASK])}


def _run(session: Any, arrays: Mapping[str, Tensor]) -> Any:  # noqa: ANN401
    return session.run([OUTPUT], {name: array.numpy() for name, array in arrays.items()})[0]


def _of_head(graph: HeadGraph, arrays: Mapping[str, Tensor]) -> Tensor:
    return graph.head.segment(graph.head_input(arrays)).softmax(1).mean(0)


def _metadata(config: ExportHeadConfig, run: RunConfig) -> dict[str, str]:
    """Metadata for users of the file, as JSON but for plain strings."""
    classes, spec, texts = Classes.from_dict(run.classes), run.features, run.texts
    values: dict[str, object] = {
        "textdiff_version": __version__,
        "command": command_line("export-head", config),
        "head": run.train["head"],
        "n_members": run.train["ensemble"],
        "classes": classes.names,
        "mask_values": classes.mask_values,
        "inputs": [asdict(one) for one in graph_inputs(run)],
        "blocks": run.blocks,
        "timesteps": run.timesteps if run.blocks else (),
        "layers": run.layers,
        "image_size": spec.image_size,
        "tile": spec.tile,
        "text": run.text,
        "text_encoder": texts.encoder if texts and run.text != "none" else None,
        "digests": _digests(config.run, run),
    }
    return {name: value if isinstance(value, str) else canonical_json(value).decode() for name, value in values.items()}


def _digests(folder: Path, run: RunConfig) -> dict[str, object]:
    """Of the cache, of each frozen model, of the projections and of the weights."""
    return {
        "cache": run.digests,
        "unet": run.features.unet_digest or None,
        "encoders": {name: encoder.digest for name, encoder in run.encoders.items()},
        "text_encoder": run.texts.encoder_digest if run.texts else None,
        "projections": run.projections,
        "head": hashlib.sha256((folder / HEAD).read_bytes()).hexdigest(),
    }
