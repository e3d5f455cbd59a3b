"""Models, arrays and sizes that are taken where none are given."""

from types import SimpleNamespace

import pytest

from textdiff.pipeline.fitting import defaults


@pytest.mark.parametrize(("n", "blocks"), [(18, [6, 8, 12, 16]), (12, [3, 6, 9, 10]), (8, [2, 4, 6, 7]), (2, [0, 1])])
def test_blocks_are_the_papers_or_spread_over_the_decoder(monkeypatch, n, blocks):
    monkeypatch.setattr(defaults, "load_unet", lambda unet, offline: SimpleNamespace(n_blocks=n))
    assert defaults.choose_arrays("diffusers:u", offline=True)[0]["blocks"] == blocks
