"""Captions as tokens: a byte-pair encoding that is learnt from them, by Hugging Face's tokenizers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clsp import files
from clsp.errors import UserError
from clsp.tasks.text.config import TowerConfig

FILE = "tokenizer.json"
PAD, START, END = "[PAD]", "[START]", "[END]"
_FIX = "give the folder that 'clsp text' wrote, or make it again"


def learnt(captions: Iterable[str], config: TowerConfig) -> Any:
    """Learn a tokenizer of at most ``config.vocabulary`` tokens from captions.

    Raises:
        UserError: the extra is not installed.
    """
    library = _library()
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.normalizer = library.normalizers.Sequence([library.normalizers.NFKC(), library.normalizers.Lowercase()])
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=config.vocabulary,
        special_tokens=[PAD, START, END],
        initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    return tokenizer


def tokens(tokenizer: Any, captions: Sequence[str], length: int) -> Tensor:
    """Captions as token numbers, int64 [N, L]: a start, the caption, an end, and padding of number 0.

    The tokens of a pretrained tower are one more than its own numbers.

    L is the longest caption's, at most ``length``: an encoder's time goes with it, and padding says nothing.
    """
    start, end = (tokenizer.token_to_id(name) for name in (START, END))
    encoded = tokenizer.encode_batch(list(captions))
    if start is None:  # of a pretrained tower: it begins, ends and cuts captions itself, and 0 is a token of its own
        written = [[number + 1 for number in one.ids[:length]] for one in encoded]
    else:
        written = [[start, *one.ids[: max(length - 2, 0)], end][:length] for one in encoded]
    found = torch.zeros(len(written), max(map(len, written), default=0), dtype=torch.int64)
    for row, ids in zip(found, written, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    return found


def borrowed(folder: Path, length: int, fix: str = _FIX) -> Any:
    """Read the tokenizer of a pretrained text encoder; it gives at most ``length`` tokens.

    Raises:
        UserError: it is missing or damaged, or the extra is not installed.
    """
    text = files.read_text(folder / FILE, fix=fix)
    with files.foreign(folder / FILE, fix, what="is no tokenizer"):
        made = _library().Tokenizer.from_str(text)
        made.no_padding()
        made.enable_truncation(length)
    return made


def save(tokenizer: Any, folder: Path) -> None:
    """Write it as tokenizers' own JSON."""
    files.write_text(folder / FILE, tokenizer.to_str())


def read(folder: Path) -> Any:
    """Read what `save` wrote.

    Raises:
        UserError: it is missing or damaged, or the extra is not installed.
    """
    text = files.read_text(folder / FILE, fix=_FIX)
    with files.foreign(folder / FILE, _FIX, what="is no tokenizer"):
        made = _library().Tokenizer.from_str(text)
        if any(made.token_to_id(name) is None for name in (PAD, START, END)) or made.token_to_id(PAD) != 0:
            raise ValueError("it lacks the tokens that begin and end a caption")
    return made


def _library() -> Any:
    try:
        import tokenizers
    except ModuleNotFoundError as error:
        raise UserError("images with text need a package: pip install 'clsp[text]'") from error
    return tokenizers
