import torch

from textdiff.stages.heads.base import HeadSpec
from textdiff.stages.heads.ensemble import Ensemble, ensemble_of
from textdiff.stages.heads.pixel import PixelHead

SPEC = HeadSpec(channels={2: 6, 10: 4}, n_classes=3, text_dim=8, width=16, n_heads=4)
SIZE = (8, 8)


def heads(n):
    torch.manual_seed(0)
    return [PixelHead(SPEC).eval() for _ in range(n)]


def given():
    generator = torch.Generator().manual_seed(1)
    maps = {2: [torch.randn(4, 4, 6, generator=generator)], 10: [torch.randn(8, 8, 4, generator=generator)]}
    return maps, SIZE, torch.randn(5, 8, generator=generator), torch.ones(5, dtype=torch.bool)


def test_an_ensemble_says_what_its_members_say_on_average():
    members = heads(3)
    ensemble = Ensemble(members).eval()
    alone = torch.stack([member.segment(*given()) for member in members])
    assert torch.equal(ensemble.segment_each(*given()), alone)
    torch.testing.assert_close(ensemble.segment(*given()).softmax(0), alone.softmax(1).mean(0))
    assert (alone[0] - alone[1]).abs().max() > 0.01


def test_activations_are_prepared_once_for_all_members(monkeypatch):
    members, prepared = heads(3), []
    prepare = PixelHead.prepare
    monkeypatch.setattr(PixelHead, "prepare", lambda head, maps: prepared.append(head) or prepare(head, maps))
    Ensemble(members).segment_each(*given())
    assert prepared == [members[0]]


def test_one_head_is_no_ensemble():
    (one,) = heads(1)
    assert ensemble_of([one]) is one
    assert one.members == (one,)
    assert torch.equal(one.segment_each(*given())[0], one.segment(*given()))
    several = heads(2)
    assert ensemble_of(several).members == tuple(several)


def test_the_weights_of_an_ensemble_are_its_members():
    members = heads(2)
    state = Ensemble(members).state_dict()
    assert len(state) == 2 * len(members[0].state_dict())
    other = Ensemble(heads(2)[::-1])
    other.load_state_dict(state)
    torch.testing.assert_close(other.segment_each(*given()), torch.stack([m.segment(*given()) for m in members]))


def test_an_ensembles_attention_is_told_member_by_member():
    members = heads(2)
    ensemble, (maps, size, *text) = Ensemble(members).eval(), given()
    shares = ensemble.attend(ensemble.prepare(maps), size, *text, torch.eye(5))
    assert ensemble.readings == ("member 1", "member 2")
    for share, member in zip(shares, members, strict=True):
        torch.testing.assert_close(share, member.attend(member.prepare(maps), size, *text, torch.eye(5)).mean(0))
    assert (shares[0] - shares[1]).abs().max() > 1e-3
