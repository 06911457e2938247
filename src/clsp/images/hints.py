"""What is likely meant where ``--data`` names nothing that can be read."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from clsp.errors import suggest
from clsp.images.catalogue import BUILTIN_NAMES

if TYPE_CHECKING:
    from collections import Counter

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")


def unknown(source: str, path: Path) -> str:
    """The message for a SOURCE that is neither a folder, nor a file of arrays, nor a name."""
    names = ", ".join(BUILTIN_NAMES)
    allowed = f"give a folder of images, an .npy or .npz file, hf:NAME, or a built-in name ({names})"
    if path.exists():
        return f"--data '{source}' is a file, but neither .npy nor .npz{_of_file(path)}: {allowed}"
    return f"--data '{source}' does not exist{_elsewhere(source) or _near(source, path)}; {allowed}"


def _of_file(path: Path) -> str:
    """What to do with a file that is no source."""
    suffix = path.suffix.lower()
    if suffix in _ARCHIVES:
        return "; unpack the archive, and give the folder"
    if suffix in _PICTURES:
        return f"; it is one image: give its folder '{path.parent}'"
    if suffix in (".csv", ".tsv", ".jsonl"):
        return f"; give the folder of the images, and --images.labels '{path}'"
    return ""


def _elsewhere(source: str) -> str:
    """A spelling of the same place that exists."""
    bare = source.strip().strip("\"'")
    tries = [source.strip(), bare, bare.replace("\\", "/")]
    if bare.startswith("file:"):
        tries.append(unquote(re.sub(r"^file:(//(localhost)?)?", "", bare)))
    drive = re.fullmatch(r"([A-Za-z]):[\\/](.*)", bare)
    if drive:
        tries.append(f"/mnt/{drive[1].lower()}/" + drive[2].replace("\\", "/"))
    for text in tries:
        if text and text != source and Path(text).expanduser().exists():
            return f"; did you mean '{text}'?"
    return " here (it is a path of Windows)" if drive else ""


def _near(source: str, path: Path) -> str:
    """A built-in name, or what lies beside the missing folder, that is spelt nearly alike."""
    if near := suggest(source, BUILTIN_NAMES):
        return near
    try:
        beside = [entry.name for entry in path.parent.iterdir() if entry.is_dir()] if path.name else []
    except OSError:
        return ""
    found = {name.casefold(): name for name in beside}
    named = found.get(path.name.casefold()) or next(iter(get_close_matches(path.name, beside, n=1)), None)
    return f"; did you mean '{path.with_name(named)}'?" if named else ""


def no_images(source: str, folder: Path, ignored: Counter[str], suffixes: tuple[str, ...]) -> str:
    """The message for a folder without images: what it holds, and what to do."""
    found = ", ".join(f"{count} {kind}" for kind, count in ignored.most_common(5)) or "nothing"
    advice = ""
    if any(kind in _ARCHIVES for kind in ignored):
        advice = "; unpack the archives"
    elif set(ignored) & {".npy", ".npz"}:
        arrays = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".npy", ".npz"))
        advice = f"; give the array itself: --data '{arrays[0]}'" if arrays else ""
    elif set(ignored) & {".parquet", ".arrow"}:
        advice = f"; a data set of the library datasets is read by --data 'hf:{source}'"
    allowed = f"images are files that end in {', '.join('.' + suffix for suffix in suffixes)}"
    return f"--data '{source}': the folder holds no images; it holds {found}{advice}; {allowed}"
