import pytest
import torch
from torch import nn

from aasist_lib.config import ModelConfig
from aasist_lib.losses import oc_softmax
from aasist_lib.models.readout import CosineReadout, build_readout


@pytest.fixture
def readout() -> CosineReadout:
    torch.manual_seed(0)
    return CosineReadout(12).double()


def embeddings(count: int = 64) -> torch.Tensor:
    return torch.randn(count, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def cosines(readout: CosineReadout, embedding: torch.Tensor) -> torch.Tensor:
    return embedding @ readout.direction / (embedding.norm(dim=1) * readout.direction.norm())


def test_the_logits_are_opposite_and_their_difference_is_the_scaled_cosine(readout):
    logits = readout(embeddings())
    assert logits.shape == (64, 2) and torch.equal(logits[:, 0], -logits[:, 1])
    expected = 20 * (cosines(readout, embeddings()) - 0.55)
    torch.testing.assert_close(logits[:, 1] - logits[:, 0], expected, rtol=1e-12, atol=1e-12)


def test_scores_end_at_minus_31_and_9_where_the_embedding_is_the_direction(readout):
    ends = readout(torch.stack([-readout.direction, readout.direction])).diff(dim=1).flatten()
    torch.testing.assert_close(ends, torch.tensor([-31.0, 9.0], dtype=torch.float64))


def test_only_the_angle_counts(readout):
    expected = readout(embeddings())
    torch.testing.assert_close(readout(1000 * embeddings()), expected)
    with torch.no_grad():
        readout.direction.mul_(0.01)
    torch.testing.assert_close(readout(embeddings()), expected)


@pytest.mark.parametrize("of", ["both", "bona fide", "spoof"])
def test_oc_softmax_of_the_readout_is_the_papers_formula(readout, of):
    """mean of log(1 + exp(alpha (m_y - cosine) (-1)^y)); y, m and alpha in the paper's notation, where bona fide is y = 0."""
    draw = torch.randint(2, (64,), generator=torch.Generator().manual_seed(2))
    labels = {"both": draw, "bona fide": torch.ones_like(draw), "spoof": torch.zeros_like(draw)}[of]
    y, margins, alpha = 1 - labels, torch.tensor([0.9, 0.2], dtype=torch.float64), 20
    expected = (1 + (alpha * (margins[y] - cosines(readout, embeddings())) * (-1.0) ** y).exp()).log().mean()
    torch.testing.assert_close(oc_softmax(readout(embeddings()), labels), expected, rtol=1e-12, atol=0)


def test_oc_softmax_turns_the_direction_to_bona_fide_and_away_from_spoof(readout):
    bonafide, spoof = embeddings(2)
    optimiser = torch.optim.SGD(readout.parameters(), lr=0.02)
    batch, labels = torch.stack([bonafide, spoof]), torch.tensor([1, 0])
    before = cosines(readout, batch)
    for _ in range(100):
        optimiser.zero_grad()
        oc_softmax(readout(batch), labels).backward()
        optimiser.step()
    after = cosines(readout, batch)
    assert after[0] > before[0] and after[1] < before[1] and after[0] > 0.55 > after[1]


@pytest.mark.parametrize("size", [0.0, 1e-20, 1e15])
def test_the_gradient_is_finite_at_embeddings_of_any_size(size):
    torch.manual_seed(0)
    readout = CosineReadout(12)
    embedding = (size * embeddings().float()).requires_grad_()
    oc_softmax(readout(embedding), torch.arange(64) % 2).backward()
    assert torch.isfinite(embedding.grad).all() and torch.isfinite(readout.direction.grad).all()


def test_the_same_seed_builds_the_same_readout():
    built = []
    for _ in range(2):
        torch.manual_seed(3)
        built.append(CosineReadout(12)(embeddings().float()))
    assert torch.equal(*built)


def test_the_config_picks_the_readout():
    linear, cosine = (build_readout(ModelConfig(readout=kind), 160) for kind in ("linear", "cosine"))
    assert type(linear) is nn.Linear and (linear.in_features, linear.out_features) == (160, 2) and linear.bias is not None
    assert type(cosine) is CosineReadout and cosine.direction.shape == (160,)
