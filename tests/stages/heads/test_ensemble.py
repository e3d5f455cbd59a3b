import torch

from textdiff.stages.heads.base import HeadSpec
from textdiff.stages.heads.ensemble import Ensemble, ensemble_of
from textdiff.stages.heads.input import HeadInput
from textdiff.stages.heads.pixel import PixelHead

SPEC = HeadSpec(channels={2: 6, 10: 4}, n_classes=3, text_dim=8, width=16, n_attention_heads=4)
SIZE = (8, 8)


def heads(n):
    torch.manual_seed(0)
    return [PixelHead(SPEC).eval() for _ in range(n)]


def given():
    generator = torch.Generator().manual_seed(1)
    maps = {2: [torch.randn(4, 4, 6, generator=generator)], 10: [torch.randn(8, 8, 4, generator=generator)]}
    return HeadInput(maps, SIZE, torch.randn(5, 8, generator=generator), torch.ones(5, dtype=torch.bool))


def test_an_ensemble_gives_the_logits_of_each_member():
    members = heads(3)
    alone = torch.cat([member.segment(given()) for member in members])
    torch.testing.assert_close(Ensemble(members).eval().segment(given()), alone)
    assert (alone[0] - alone[1]).abs().max() > 0.01


def test_activations_are_prepared_once_for_all_members(monkeypatch):
    members, prepared = heads(3), []
    prepare = PixelHead.prepare
    monkeypatch.setattr(PixelHead, "prepare", lambda head, features: prepared.append(head) or prepare(head, features))
    Ensemble(members).segment(given())
    assert prepared == [members[0]]


def test_one_head_is_no_ensemble():
    (one,) = heads(1)
    assert ensemble_of([one]) is one
    assert one.members == (one,)
    assert one.segment(given()).shape == (1, 3, *SIZE)
    several = heads(2)
    assert ensemble_of(several).members == tuple(several)


def test_the_weights_of_an_ensemble_are_its_members():
    members = heads(2)
    state = Ensemble(members).state_dict()
    assert len(state) == 2 * len(members[0].state_dict())
    other = Ensemble(heads(2)[::-1])
    other.load_state_dict(state)
    torch.testing.assert_close(other.segment(given()), torch.cat([member.segment(given()) for member in members]))


def test_an_ensembles_attention_is_given_member_by_member():
    members = heads(2)
    ensemble = Ensemble(members).eval()
    shares = ensemble.attention_maps(given(), torch.eye(5))
    assert ensemble.attention_names == ("member 1", "member 2")
    for share, member in zip(shares, members, strict=True):
        torch.testing.assert_close(share, member.attention_maps(given(), torch.eye(5)).mean(0))
    assert (shares[0] - shares[1]).abs().max() > 1e-3
