"""LeJEPA's two terms against lightly, the plain formula, and what they should tell apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightly.loss import LeJEPALoss, SIGReg
from scipy.integrate import trapezoid

from clsp.objectives.gaussian import centred, sigreg


@pytest.fixture
def views():
    generator = torch.Generator().manual_seed(0)
    return (0.7 * torch.randn(3, 9, 5, generator=generator, dtype=torch.float64) + 0.3).requires_grad_()


def directions(count=7, dim=5):
    return F.normalize(torch.randn(dim, count, generator=torch.Generator().manual_seed(1), dtype=torch.float64), dim=0)


def test_loss_and_gradient_are_lightlys(views, monkeypatch):
    monkeypatch.setattr(SIGReg, "_generate_unit_vectors", lambda *_: directions())
    theirs = LeJEPALoss(lambda_param=0.1).double()
    expected = theirs(global_proj=views[:2], local_proj=views[2:])
    found = 0.1 * sigreg(views, directions()) + 0.9 * centred(views, 2)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(*(torch.autograd.grad(loss, views)[0] for loss in (found, expected)), rtol=1e-5, atol=0)


def test_sigreg_is_the_plain_formula(views):
    z, a = views.detach().numpy(), directions().numpy()
    t = np.linspace(-3, 3, 33)
    found = []
    for view in z:
        for direction in a.T:
            x = view @ direction
            apart = np.abs(np.exp(1j * np.outer(t, x)).mean(1) - np.exp(-(t**2) / 2)) ** 2
            found.append(len(x) * trapezoid(apart * np.exp(-(t**2) / 2), t))
    assert float(sigreg(views, directions())) == pytest.approx(np.mean(found), rel=1e-6)


def test_it_tells_a_gaussian_from_what_is_not():
    z = torch.randn(1, 4000, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    gaussian = float(sigreg(z, directions()))
    others = {"collapsed": 0 * z, "narrow": 0.5 * z, "wide": 2 * z, "moved": z + 1, "on two points": z.sign()}
    found = {name: float(sigreg(other, directions())) for name, other in others.items()}
    assert gaussian < 3
    assert min(found.values()) > 5 * gaussian, found


def test_the_centre_is_that_of_the_whole_views():
    first, second, crop = torch.randn(3, 4, 6)
    centre = (first + second) / 2
    expected = sum((view - centre).square().mean() for view in (first, second, crop)) / 3
    torch.testing.assert_close(centred(torch.stack((first, second, crop)), 2), expected)
    torch.testing.assert_close(centred(torch.stack((first, second)), 2), (first - second).square().mean() / 4)
