import copy

import pytest

torch = pytest.importorskip("torch")

from embedge.models.recipes.network import Encoder, go_towards  # noqa: E402


def encoder(seed: int) -> Encoder:
    torch.manual_seed(seed)
    made = Encoder(torch.randn(64, 384), (1,), layers=2, four_bit=True)
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(torch.randn_like(weight))
    return made


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_all_weights_go_the_same_share_of_the_way(share: float) -> None:
    start, end = encoder(1), encoder(2)
    moved = copy.deepcopy(start)

    go_towards(moved, end, share)

    for name, weight in moved.state_dict().items():
        expected = (1 - share) * start.state_dict()[name] + share * end.state_dict()[name]
        torch.testing.assert_close(weight, expected)


def test_the_goal_stays_as_it_is() -> None:
    end = encoder(2)
    before = copy.deepcopy(end.state_dict())

    go_towards(encoder(1), end, 0.5)

    assert all(torch.equal(weight, before[name]) for name, weight in end.state_dict().items())
