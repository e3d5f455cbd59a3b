"""docs/architecture.md against the code: its files and names exist, and classes are named by the glossary's words."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
SOURCES = [
    *(path for layer in ("cache", "stages", "pipeline") for path in (ROOT / layer).rglob("*.py")),
    ROOT / "errors.py",
]
CONCERNS = (
    "default", "noise", "checksum", "chart", "tokens", "loss", "split", "interval", "DICOM", "ray",
)  # fmt: skip
PLAIN_WORDS = """
ablate ablation adm attention augmentation background class clip compare comparison context convert converted count
cross data dataset decoder demo difference encoder ensemble error evaluate explain explainer explanation extract
extractor figure flip frozen guided half identity image inspection interpolation kind labelled latent logits merge model
normalised nucleus panoptic paper pixel precision predict prediction pretrain pseudonym quality quantised question
raw recorder scoring segment segmented segmenter sign suggest suggestion test tissue train trainer training truncated
pretraining verdict

access agreement answer applied axis base budget change child endpoint event exporter given guard header held
history hub learner learning list look moment notify overview predicted predictor preview pyramid redo refusal
mark picture ridge secure service set sharpness shown sketch stage state superseded surrounding tool
undo unlock failure initial queue

column sheet

add appearance archive archived array box busy byte cached case cell chart check checked command config copy corner
corrupt count d damage damaged distinct dot element entry export fact factory family file finalist flag folder
forbidden form found gallery grid handler hdf hf if incomplete info inline key layout lease legend light line link
lazy listing live load local location log matched memory mention mismatch mixing mode name ngff not object of offline
offset
open option order outcome over override pair paired part path pending place plane point prepared progress prose range
raster reader record remote report request role rule scan section setting shape shared sink slide some span spool stop
stored subset summary swatch table task terminal terminated textdiff thumbnail tiff unet unmatched unusable verify
viewed warning what wording worker writer zip

graph mlflow no extra

classifier collected format function matrix output plot result target
annotated coco colour coloured content count drawn feature outlined painted placement polygon reach reading ring run
shape side size
area survey timm tracer type dicom language nifti png probability slice segmentation weight
needed channel last norm activation jitter
"""
"""Words of the field, then of programming, that need no explanation."""


def section(heading):
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def rows(heading):
    """Cells of a section's table, without its head."""
    lines = [line.strip("|").split("|") for line in section(heading).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in cells] for cells in lines[2:]]


def names_in(path):
    """Names that a module defines, at any depth, and its strings."""
    nodes = [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    functions = {node.name for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    variables = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return functions | variables | {node.value for node in nodes if isinstance(node, ast.Constant)}


def defined():
    """Public classes and type aliases: name -> the files that define it."""
    names = defaultdict(list)
    for path in SOURCES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            match node:
                case ast.ClassDef(name=name):
                    names[name].append(path)
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if not isinstance(value, ast.Call):
                    names[name].append(path)
    return {name: paths for name, paths in names.items() if re.match("[A-Z]+[a-z]", name)}


def words_of(name):
    """Words of a name in CamelCase."""
    return [word.lower() for word in re.findall("ADM|UNet|[A-Z]+(?=[A-Z][a-z]|$)|[A-Z][a-z]+", name)]


def singulars(word):
    """The word, and what it may be the plural of."""
    return {word, word.removesuffix("s"), word.removesuffix("es"), re.sub("ies$", "y", word)}


def test_every_file_and_name_of_the_page_exists():
    files = re.findall(r"`((?:cache|stages|pipeline|tests)/[\w/]+\.\w+)`", PAGE)
    assert len(files) > 60
    assert [file for file in files if not (ROOT / file).is_file()] == []
    named = re.findall(r"`([\w/]+\.py)`: ((?:`\w+`(?:, )?)+)", PAGE)
    missing = [
        (file, name) for file, names in named for name in re.findall(r"\w+", names) if name not in names_in(ROOT / file)
    ]
    assert len(named) > 50
    assert missing == []


@pytest.mark.parametrize("concern", CONCERNS)
def test_each_concern_is_listed_once(concern):
    listed = [first for first, _ in rows("Where to look") if re.search(rf"\b{concern}\b", first)]
    assert len(listed) == 1, listed


def test_terms_are_in_the_glossary_once():
    terms = [term for term, *_ in rows("Glossary")]
    assert len(terms) == len({*terms}) > 40
    assert all(len(cells) == 3 and all(cells) for cells in rows("Glossary"))


def test_no_two_public_classes_or_aliases_have_one_name():
    assert {name: paths for name, paths in defined().items() if len(paths) > 1} == {}


def test_class_names_are_made_of_words_that_the_glossary_or_the_field_knows():
    known = {*PLAIN_WORDS.split(), *(word for term, *_ in rows("Glossary") for word in term.split())}
    unknown = {name: [word for word in words_of(name) if not singulars(word) & known] for name in defined()}
    assert {name: words for name, words in unknown.items() if words} == {}
