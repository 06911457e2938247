"""A callback of Lightning's Trainer that tells `clsp.PositivePairs` which epoch it is."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback

from clsp.positives.dataset import PositivePairs


class SetEpoch(Callback):
    """Lets a dataset draw other candidates in every epoch; Lightning itself tells the epoch to samplers alone.

    A training that goes on from a checkpoint goes on with that epoch's candidates.

    Args:
        pairs: the dataset that the Trainer's loader reads.
    """

    def __init__(self, pairs: PositivePairs) -> None:
        self._pairs = pairs

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Tell the epoch that begins."""
        self._pairs.set_epoch(trainer.current_epoch)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Tell the next one: a loader that is made anew fetches its first batches before that begins."""
        self._pairs.set_epoch(trainer.current_epoch + 1)

    def state_dict(self) -> dict[str, Any]:
        """The epoch, for a checkpoint."""
        return {"epoch": self._pairs.epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the epoch of a checkpoint: Lightning begins to fetch before it says which epoch begins."""
        self._pairs.set_epoch(int(state_dict["epoch"]))
