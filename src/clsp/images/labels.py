"""Labels of any kind become numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from clsp.errors import UserError


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
