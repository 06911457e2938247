"""Run notebooks from top to bottom and keep what they show: python notebooks/execute.py [NAME.ipynb ...].

Each runs in an empty folder of its own. What would differ from machine to machine (times of execution, versions of
Python, lines on standard error) is not kept, so that a notebook changes only where its results do.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
NAMES = sorted(path.name for path in HERE.glob("*.ipynb"))
SECONDS = 600
"""What a cell may take at most."""


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Run all cells of a notebook in ``folder``, with what they show.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    return notebook


def light(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Leave out what is of this machine or of this hour."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if not _passing(one)]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def _passing(output: nbformat.NotebookNode) -> bool:
    """Whether an output is a line on standard error or a bar."""
    return output.get("name") == "stderr" or "progress" in output.get("metadata", {})


def main(names: list[str]) -> int:
    """Run and rewrite the notebooks ``names``."""
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(HERE / name, Path(folder))
        nbformat.write(light(notebook), HERE / name)
        print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or NAMES))
