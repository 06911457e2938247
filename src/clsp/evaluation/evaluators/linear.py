"""The linear probe: logistic regression on frozen features, C chosen on held-out train images."""

from __future__ import annotations

from clsp.evaluation import probe
from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.evaluator import Evaluator
from clsp.evaluation.measure import Measure, accuracy
from clsp.evaluation.task import Task
from clsp.evaluation.trained import Trained


class Linear(Evaluator):
    """Top-1 of a linear probe."""

    settings: EvaluateConfig
    place = 10

    def __call__(self, trained: Trained, data: Task) -> list[Measure]:
        """Choose C on the held-out part, fit on all train images, and classify the test images."""
        fit, labels = trained.train.numpy(), data.train.column("label")
        chosen = probe.choose(fit, labels, data.classes, data.held, self.settings.regularisation)
        fitted = probe.LinearProbe(fit, labels, chosen.regularisation, chosen)
        protocol = (
            f"logistic regression (L-BFGS) on standardised frozen features of {len(labels)} labelled train images, "
            f"C = {fitted.regularisation:g} chosen on {int(data.held.sum())} of them; tested on {data.note}"
        )
        scores = fitted.scores(trained.test.numpy(), data.classes)
        return [accuracy(scores, data.test.column("label"), name="linear", title="linear", protocol=protocol)]
