"""The linear probe: multinomial logistic regression on frozen features, fitted with L-BFGS (scikit-learn)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from clsp import console, distributed
from clsp.engine.threads import limited
from clsp.evaluation.balance import rate
from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.evaluator import Evaluator
from clsp.evaluation.measure import Measure
from clsp.evaluation.task import Task
from clsp.evaluation.trained import Trained

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

_ITERATIONS = 500

_FINE, _ROUGH = 1e-4, 1e-3
"""Largest gradient at which a fit ends: of the last probe (scikit-learn's default), and of one that chooses C."""

_PATIENCE = 2
"""Values of C in a row that are no better than the best, after which larger ones are not tried."""

_SMALL = 5_000_000
"""Values of a matrix below which BLAS is faster on one thread: its threads wait longer than they work."""


class Linear(Evaluator):
    """Top-1 of a linear probe; of unequal classes their mean as well."""

    settings: EvaluateConfig
    place = 10

    def __call__(self, trained: Trained, data: Task) -> list[Measure]:
        """Choose C on the held-out part, fit on all train images, and classify the test images."""
        fit, labels = trained.train.numpy(), data.train.column("label")
        chosen = choose(fit, labels, data.classes, data.held, self.settings.regularisation)
        fitted = LinearProbe(fit, labels, chosen.regularisation, chosen)
        if (told := at_edge(chosen.regularisation, self.settings.regularisation)) and distributed.rank() == 0:
            console.say(told)
        protocol = (
            f"logistic regression (L-BFGS) on standardised frozen features of {len(labels)} labelled train images, "
            f"C = {fitted.regularisation:g} chosen on {int(data.held.sum())} of them; tested on {data.note}"
        )
        scores = fitted.scores(trained.test.numpy(), data.classes)
        return rate(scores, data.test.column("label"), name="linear", title="linear", protocol=protocol)


class LinearProbe:
    """A fitted probe.

    Args:
        features: float [N, D].
        labels: int64 [N].
        regularisation: C, larger is weaker.
        start: a probe of like features with another C, whose weights are a good place to begin at. Left aside if it
            has seen other classes.
        tolerance: the largest gradient at which the fit ends.
    """

    def __init__(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        regularisation: float,
        start: LinearProbe | None = None,
        tolerance: float = _FINE,
    ) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        self.regularisation = regularisation
        self._model: LogisticRegression
        self._scaler = StandardScaler().fit(features)
        if start is not None and not np.array_equal(start._model.classes_, np.unique(labels)):
            start = None
        warm = start is not None
        self._model = LogisticRegression(C=regularisation, tol=tolerance, max_iter=_ITERATIONS, warm_start=warm)
        if start is not None:
            self._model.coef_, self._model.intercept_ = start._model.coef_, start._model.intercept_
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            with limited(1 if features.size < _SMALL else None):
                self._model.fit(self._scaler.transform(features), labels)

    def scores(self, features: np.ndarray, classes: int) -> np.ndarray:
        """Log-probabilities float [M, classes]; classes that were not seen get minus infinity."""
        scores = np.full((len(features), classes), -np.inf)
        with np.errstate(divide="ignore"):  # a class may be as good as impossible
            scores[:, self._model.classes_] = self._model.predict_log_proba(self._scaler.transform(features))
        return scores

    def layer(self, classes: int) -> tuple[np.ndarray, np.ndarray]:
        """The probe as one linear layer on features that are not standardised, with the same probabilities.

        Returns:
            Weight float [classes, D] and bias float [classes]; classes that were not seen get a bias of -1000.
        """
        weight, bias = np.zeros((classes, self._scaler.n_features_in_)), np.full(classes, -1000.0)
        fitted, offset = self._model.coef_, self._model.intercept_
        if len(fitted) == 1:  # two classes: scikit-learn keeps the second one's log-odds
            fitted, offset = np.concatenate([0 * fitted, fitted]), np.concatenate([0 * offset, offset])
        weight[self._model.classes_] = fitted / self._scaler.scale_
        bias[self._model.classes_] = offset - (fitted * self._scaler.mean_ / self._scaler.scale_).sum(axis=1)
        return weight, bias


def at_edge(chosen: float, values: Sequence[float]) -> str | None:
    """Say that the chosen C is at an end of what was tried, so that a better one may lie beyond it; None: it is not."""
    if len(values) < 2 or min(values) < chosen < max(values):
        return None
    side, more = ("smallest", "smaller") if chosen == min(values) else ("largest", "larger")
    return (
        f"note: linear: C = {chosen:g} is the {side} of --evaluate.regularisation {sorted(values)}; "
        f"{more} ones may be better"
    )


def choose(
    features: np.ndarray, labels: np.ndarray, classes: int, held: np.ndarray, values: Sequence[float]
) -> LinearProbe:
    """Return the probe, fitted on the rows that are not ``held`` (bool [N]), whose C does best on those that are.

    From the strongest regularisation, whose fit is quick, to the weakest, whose is slow: each begins at the weights of
    the one before, and after two values that are no better than the best so far the rest is not tried.
    """
    fit, rest = (features[~held], labels[~held]), (features[held], labels[held])
    first, *others = sorted(values)

    def accuracy(probe: LinearProbe) -> float:
        return float((probe.scores(rest[0], classes).argmax(axis=1) == rest[1]).mean())

    best = probe = LinearProbe(*fit, first, None, _ROUGH)
    highest, worse = accuracy(best), 0
    for value in others:
        probe = LinearProbe(*fit, value, probe, _ROUGH)
        if (found := accuracy(probe)) > highest:
            best, highest, worse = probe, found, 0
        else:
            worse += 1
        if worse == _PATIENCE:
            break
    return best
