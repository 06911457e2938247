"""Processes: which machine they are on, and whether they live. Files that several of them share are named by it."""

from __future__ import annotations

import os
import re
from platform import node

import psutil

NODE = re.sub(r"\W", "_", node())
"""This machine: several may write to one folder."""


def lives(process: int) -> bool:
    """Whether there is a process of this number that works: one that waits to be buried (a zombie) does not."""
    try:
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # another user's
        return True


def started(process: int) -> float | None:
    """When a process was started, in seconds since 1970: another one may get its number. None: it is gone."""
    try:
        return float(psutil.Process(process).create_time())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None


def companions() -> set[int]:
    """The numbers of the processes beside this one: of the same parent, with the same command, and alive."""
    try:
        own, parent = psutil.Process(), psutil.Process(os.getppid())
        command = own.cmdline()
        return {other.pid for other in parent.children() if other.pid != own.pid and _does(other, command)}
    except psutil.Error:
        return set()


def _does(other: psutil.Process, command: list[str]) -> bool:
    try:
        return bool(other.status() != psutil.STATUS_ZOMBIE and other.cmdline() == command)
    except psutil.Error:
        return False
