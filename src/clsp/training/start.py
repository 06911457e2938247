"""What a training starts from: random weights, an encoder's or timm's, or all that another training had learnt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from clsp import console, distributed, files
from clsp.encoders.memory import Memory
from clsp.encoders.weights import find_weights, read_weights, resume_weights, take_weights
from clsp.engine.checkpoint import load_checkpoint
from clsp.engine.record import read_record
from clsp.errors import UserError
from clsp.methods.base import Method
from clsp.training.config import PretrainConfig


@dataclass(frozen=True)
class Start:
    """Weights to start from."""

    said: str
    """As the user named them."""
    path: Path
    """A safetensors file of a backbone's tensors; of a whole training its checkpoint."""
    whole: bool
    """Whether it is a whole training's: with heads, averages and memories."""

    @property
    def digest(self) -> str:
        """The hash of the file."""
        return files.file_hash(self.path)[:16]

    def begin_encoder(self, encoder: nn.Module, name: str, channels: int) -> None:
        """Copy what fits into the encoder ``name`` of images of ``channels``, and say what that is.

        Raises:
            UserError: the weights cannot be read, or are another network's.
        """
        if not self.whole:
            _say(self.said, take_weights(encoder, read_weights(self.path), name, channels))

    def begin_method(self, method: Method, data: str) -> None:
        """Copy what a whole training had learnt, and say what that is.

        Memories hold embeddings of images by their number: those of other data are left.

        Args:
            method: the method with its first weights; changed in place.
            data: the fingerprint of the images.

        Raises:
            UserError: the checkpoint cannot be read, or is another method's.
        """
        if not self.whole:
            return
        state = {name.removeprefix("method."): t for name, t in load_checkpoint(self.path)["training"].items()}
        if _data(self.path.parents[1]) != data:
            for part, module in method.named_modules():
                if isinstance(module, Memory):
                    state = {name: t for name, t in state.items() if not name.startswith(f"{part}.")}
        _say(self.said, resume_weights(method, state))


def find_start(config: PretrainConfig) -> Start | None:
    """Return what ``config`` starts from; None: random weights.

    Raises:
        UserError: what it names is not there.
    """
    said = config.start
    if said is None:
        if config.continued:
            raise UserError("--pretrain.continued true: name the folder of the training by --pretrain.weights")
        return None
    if config.weights and config.backbone.weights:
        raise UserError("--pretrain.weights and pretrained in --pretrain.backbone.args are two; leave one out")
    if not config.continued:
        return Start(said, find_weights(said, config.backbone.name), whole=False)
    path = Path(said) / "checkpoints" / "last.safetensors"
    if not path.is_file():
        raise UserError(
            f"--pretrain.weights {said}: no checkpoints/last.safetensors there, which holds heads and averages; "
            "leave --pretrain.continued out to take the encoder alone"
        )
    record = read_record(Path(said))
    there = config.method if record is None else record.settings.get("method", config.method)
    if there != config.method:
        raise UserError(f"--pretrain.weights {said} is a training of {there}, and {config.method} cannot continue it")
    return Start(said, path, whole=True)


def _data(folder: Path) -> str | None:
    record = read_record(folder)
    return None if record is None else record.inputs.get("data")


def _say(said: str, taken: object) -> None:
    if distributed.rank() == 0:
        console.say(f"weights of {said}: {taken}")
