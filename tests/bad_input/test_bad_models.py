"""UNets and text encoders that cannot be loaded or do not suit: each is refused before anything is written."""

import json
import pickle
import shutil
import struct

import pytest
import torch

WEIGHTS = "unet/unet/diffusion_pytorch_model.safetensors"
CONFIG = "unet/unet/config.json"


def extract(**flags):
    """The sound extraction with other flags."""
    return lambda scene: [*scene.extract(str(scene.sound / "data"), **flags)]


def unet(spoil, **flags):
    """An extraction with a copy of the UNet that is spoilt."""

    def arrange(scene):
        scene.copy("unet")
        spoil(scene)
        return scene.extract(str(scene.sound / "data"), unet="diffusers:unet", **flags)

    return arrange


def encoder(spoil):
    def arrange(scene):
        scene.copy("encoder")
        spoil(scene)
        return scene.extract(str(scene.sound / "data"), text_encoder="hf:encoder")

    return arrange


def checkpoint(content, name="model.pt", *more):
    """`convert-unet` of a file."""

    def arrange(scene):
        content(scene.here / name) if callable(content) else scene.write(name, content)
        return ["convert-unet", name, "out", *more]

    return arrange


class Malice:
    def __reduce__(self):
        return exec, ("import pathlib; pathlib.Path('owned').touch()",)


def safetensors(header, body=b""):
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(content)) + content + body


def texts(*rows):
    """An extraction of one image with a text."""

    def arrange(scene):
        scene.copy("data")
        scene.write("data/manifest.csv", "\n".join(["id,image,mask,text,split", *rows]))
        return scene.extract()

    return arrange


def half(name):
    return lambda scene: scene.edit(name, lambda content: content[: len(content) // 2])


def without(name):
    def spoil(scene):
        path = scene.here / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return spoil


SOURCES = {
    "no kind": (
        extract(unet="model"),
        "'model' is no model source here: not of the form kind:where; expected diffusers:...",
    ),
    "a kind that nobody knows": (extract(unet="keras:model"), "unknown kind 'keras'; expected diffusers:..."),
    "an encoder for a UNet": (extract(unet="hf:model"), "unknown kind 'hf'"),
    "nothing after the colon": (extract(unet="diffusers:"), "not of the form kind:where"),
    "no folder": (
        extract(unet="diffusers:./gone"),
        "the folder gone does not exist; expected a folder or a hub id (org/name)",
    ),
    "a file for a folder": (
        lambda s: s.extract(str(s.sound / "data"), unet="diffusers:" + s.write("a.bin")),
        "a.bin is a file; expected the folder",
    ),
    "a UNet's flags for a folder": (
        lambda s: [*s.extract(str(s.sound / "data")), "--unet-config", s.write("c.json", "{}")],
        "got the config c.json, which only guided-diffusion:FILE takes; leave it out",
    ),
}

UNETS = {
    "no config": (unet(without(CONFIG)), "no config.json in unet; expected the folder of a UNet2DModel"),
    "a config that is no JSON": (unet(half(CONFIG)), "config.json cannot be read as JSON"),
    "a config that is no object": (
        unet(lambda s: s.write(CONFIG, "[]")),
        "config.json holds no JSON object; save the model again",
    ),
    "brackets without end": (unet(lambda s: s.write(CONFIG, "[" * 100_000)), "config.json cannot be read as JSON"),
    "another class": (
        unet(lambda s: s.edit_json(CONFIG, _class_name="UNet1DModel")),
        "is of class UNet1DModel; expected UNet2DModel",
    ),
    "blocks that cannot be numbered": (
        unet(lambda s: s.edit_json(CONFIG, up_block_types=["SkipUpBlock2D"] * 3)),
        "the UNet has SkipUpBlock2D, whose decoder cannot be numbered",
    ),
    "fewer channels than its weights": (
        unet(lambda s: s.edit_json(CONFIG, block_out_channels=[8, 8, 8])),
        "unet: it could not be loaded",
    ),
    "channels of nonsense": (
        unet(lambda s: s.edit_json(CONFIG, block_out_channels="many")),
        "unet: it could not be loaded",
    ),
    "half the weights": (unet(half(WEIGHTS)), "unet: it could not be loaded"),
    "no weights": (unet(without(WEIGHTS)), "unet: it could not be loaded"),
    "text for weights": (unet(lambda s: s.write(WEIGHTS, "weights")), "unet: it could not be loaded"),
    "malice for weights": (
        unet(lambda s: (without(WEIGHTS)(s), s.write(WEIGHTS.replace("safetensors", "bin"), pickle.dumps(Malice())))),
        "its weights are damaged, or hold more than tensors",
    ),
    "no scheduler": (unet(without("unet/scheduler")), "scheduler"),
    "a schedule of nonsense": (
        unet(lambda s: s.edit_json("unet/scheduler/scheduler_config.json", num_train_timesteps=-5)),
        "it could not be loaded (number of steps must be non-negative)",
    ),
}

FIT = {
    "a block that is not there": (
        extract(blocks="99"),
        "there are no decoder blocks [99]; the UNet has decoder blocks 0 (deepest) to 5",
    ),
    "a timestep that is not there": (extract(timesteps="1000"), "1000"),
    "a size that it cannot halve": (extract(image_size="18"), "height and width must be multiples of 4, got 18x18"),
    "a class of a UNet without": (
        extract(class_label="3"),
        "got the class label 3, but the UNet is not class-conditional; leave it out",
    ),
    "its own text for a UNet that reads none": (extract(condition="own"), "reads no text; leave it out"),
    "more components than channels": (
        extract(pca="16"),
        "--pca got 16; expected fewer components than there are channels",
    ),
    "a device that is not here": (extract(device="cuda:97"), "--device got 'cuda:97'; this machine has cpu"),
}

CHECKPOINTS = {
    "no file": (lambda s: ["convert-unet", "gone.pt", "out"], "there is no such file; expected a checkpoint"),
    "a file of no known kind": (
        checkpoint(b"", "model.bin"),
        "a file of no known kind; expected .pt, .pth or .safetensors",
    ),
    "an empty file": (checkpoint(b""), "model.pt: it is no checkpoint, or holds more than tensors"),
    "malice": (checkpoint(pickle.dumps(Malice())), "model.pt: it is no checkpoint, or holds more than tensors"),
    "malice as torch saves it": (
        checkpoint(lambda path: torch.save({"input_blocks.0.0.weight": Malice()}, path)),
        "holds more than tensors",
    ),
    "a tensor alone": (checkpoint(lambda path: torch.save(torch.zeros(3), path)), "it holds no named tensors"),
    "another model": (
        checkpoint(lambda path: torch.save({"a": torch.zeros(3)}, path)),
        "expected the state dict of a guided-diffusion UNet",
    ),
    "two models": (
        checkpoint(lambda path: torch.save({k: {"input_blocks.0.0.weight": torch.zeros(1)} for k in "ab"}, path)),
        "it holds several state dicts (a, b)",
    ),
    "a quantised model": (
        checkpoint(lambda path: torch.save({"input_blocks.0.0.weight": torch.zeros(3, dtype=torch.int8)}, path)),
        "expected plain floating-point weights",
    ),
    "one tensor of the model": (
        checkpoint(lambda path: torch.save({"input_blocks.0.0.weight": torch.zeros(8, 3, 3, 3)}, path)),
        "model.pt",
    ),
    "a header that promises too much": (
        checkpoint(struct.pack("<Q", 2**60), "model.safetensors"),
        "it is no checkpoint",
    ),
    "a header that is no JSON": (checkpoint(safetensors(b"{oh"), "model.safetensors"), "it is no checkpoint"),
    "a tensor beyond the file": (
        checkpoint(
            safetensors({"input_blocks.0.0.weight": {"dtype": "F32", "shape": [999], "data_offsets": [0, 3996]}}),
            "model.safetensors",
        ),
        "it is no checkpoint",
    ),
    "a folder that is full": (
        lambda s: ["convert-unet", s.write("model.pt", "x"), s.write("out/there").split("/", maxsplit=1)[0]],
        "out holds something already; give a folder that is empty or does not exist",
    ),
}

ENCODERS = {
    "texts and no encoder": (extract(text_encoder=""), "texts were found and no --text-encoder was given"),
    "a kind that nobody knows": (extract(text_encoder="word2vec:x"), "unknown kind 'word2vec'; expected open_clip:..."),
    "no folder": (extract(text_encoder="hf:./gone"), "the folder gone does not exist"),
    "a package that is not installed": (
        extract(text_encoder="package:gone_x"),
        "the Python package 'gone_x' is not installed",
    ),
    "a package without a model": (extract(text_encoder="package:json"), "the package 'json' carries no model"),
    "a name that is no package": (
        extract(text_encoder="package:os.path"),
        "the Python package 'os.path' is not installed",
    ),
    "an open_clip model that is not there": (extract(text_encoder="open_clip:gone/x"), "gone"),
    "half the weights": (encoder(half("encoder/model.safetensors")), "hf:encoder: it could not be loaded"),
    "no config": (encoder(without("encoder/config.json")), "hf:encoder: it could not be loaded"),
    "a text that is too long": (
        texts(f"a,train0.png,,{'nuclei ' * 40},train"),
        "1 texts are longer than the 32 tokens that hf:",
    ),
}

TABLE = {
    f"{name} ({kind})": row
    for kind, table in [
        ("source", SOURCES),
        ("UNet", UNETS),
        ("fit", FIT),
        ("checkpoint", CHECKPOINTS),
        ("text encoder", ENCODERS),
    ]
    for name, row in table.items()
}


@pytest.mark.parametrize("row", TABLE)
def test_a_model_that_cannot_be_used_is_refused(refused, row):
    refused(*TABLE[row])
