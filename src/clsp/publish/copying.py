"""Files as they are, in another folder: compared with their hashes, and whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

from clsp import files


def copy(source: Path, target: Path) -> None:
    """Copy a file.

    Raises:
        UserError: it is missing, or not what was made.
    """
    with files.foreign(source):
        files.prove(files.regular(source))
    with files.replaced(target) as temporary:
        shutil.copyfile(source, temporary)
