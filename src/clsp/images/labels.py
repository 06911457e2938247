"""Labels of any kind become numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from clsp.errors import UserError


def require_learnable(
    source: str,
    classes: Sequence[str] | None,
    stated: np.ndarray | None,
    train: np.ndarray | None,
    test: np.ndarray | None,
) -> None:
    """Refuse a test part with a class of which no train image could be read.

    Args:
        source: the SOURCE as the user named it.
        classes: the classes' names.
        stated: labels of all train images that there are, int64 [N].
        train: those of the train images that could be read, int64 [M].
        test: those of the test part, int64; None where there is none.

    Raises:
        UserError: names the first such class.
    """
    if classes is None or stated is None or train is None or test is None:
        return
    if lost := sorted((set(stated.tolist()) - set(train.tolist())) & set(test.tolist()) - {-1}):
        raise UserError(
            f"--data '{source}': of the class '{classes[lost[0]]}', which the test part has, no train image can be "
            "read: mend them, remove the class, or ignore labels with --images.labels none"
        )


def numbered(source: str, values: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Number the labels by the order of their values.

    Args:
        source: the SOURCE as the user named it.
        values: labels by part (``train`` and perhaps ``test``), integers or strings [N].

    Returns:
        int64 [N] in [0, classes) for each part, and the values as the classes' names.

    Raises:
        UserError: the test part has a label that the train part lacks.
    """
    known = np.unique(values["train"])
    if strange := sorted(set(values.get("test", known).tolist()) - set(known.tolist())):
        raise UserError(
            f"--data '{source}' has the label {strange[0]!r} in the test part but not in the train part: "
            "add it, remove it, or ignore labels with --images.labels none"
        )
    numbers = {part: np.searchsorted(known, found).astype(np.int64) for part, found in values.items()}
    return numbers, tuple(str(value) for value in known.tolist())
