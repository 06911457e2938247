"""Which command, with which arguments; how errors end. Nothing heavy is imported before a command is known."""

from __future__ import annotations

import errno
import os

from clsp import console, distributed
from clsp._version import __version__
from clsp.cli.calls import Call, parse_call
from clsp.cli.table import COMMANDS
from clsp.engine import watch
from clsp.engine.stop import orderly
from clsp.errors import UserError, suggest

_MENDED_BY_USER = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EEXIST, errno.ENOTDIR),
    *(errno.ENOENT, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ESTALE),
}
"""What is wrong with a place that a user named, or that vanished meanwhile."""


def dispatch(arguments: list[str]) -> int:
    """Run one command and turn its errors into one line and a status."""
    try:
        if not arguments or arguments[0] in ("-h", "--help", "help"):
            print(overview())
            return 0
        if arguments[0] in ("-V", "--version"):
            print(version_line())
            return 0
        name, rest = arguments[0], arguments[1:]
        if name not in COMMANDS:
            raise UserError(
                f"unknown command '{name}'; the commands are {', '.join(COMMANDS)}{suggest(name, COMMANDS)}"
            )
        if {"-h", "--help", "--help-all"} & set(rest):
            from clsp.cli.help import help_of

            print(help_of(name, rest))
            return 0
        return _guarded(name, parse_call(name, rest))
    except UserError as error:
        return _fail(str(error))


def version_line() -> str:
    """The text of ``clsp --version``: clsp and what decides its numbers; nothing of it is imported."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = [f"clsp {__version__}", f"Python {platform.python_version()}"]
    for package in ("torch", "lightning", "timm", "diffusers"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} missing")
    return ", ".join(found)


def _guarded(name: str, call: Call) -> int:
    """Run the command; what the user can mend ends with one line, Ctrl-C cleanly."""
    try:
        from clsp import files

        with orderly(), watch.reported():
            status = call.command.run(call)
            files.settle()  # what was read in the background may be damaged
        return status
    except KeyboardInterrupt:
        console.say("clsp: interrupted; the same command goes on where this one stopped")
        return 130
    except RuntimeError:
        if distributed.rank() == 0:
            raise
        return 1  # the first process says why
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return _fail(
                f"no space left for {error.filename or 'the output'}: free some or choose another --out; "
                "what was finished is kept, and the same command goes on"
            )
        if error.errno in _MENDED_BY_USER:
            where = error.filename or "a file"
            return _fail(f"cannot read or write {where}: {os.strerror(error.errno)}; mend it, or choose another --out")
        raise


def _fail(message: str) -> int:
    watch.fail(message)
    console.say(f"clsp: error: {' '.join(message.split())}")
    return 2


def overview() -> str:
    """The text of ``clsp --help``."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return (
        "clsp: self-supervised image pretraining with synthetic positives\n\n"
        "  clsp run --data FOLDER --out RUN      images in, an encoder and the evidence for it out\n"
        "  clsp run --data digits --out demo     the same on images that come with the package\n\n"
        "commands:\n" + "\n".join(lines) + "\n\n"
        "SOURCE is a folder of images, an .npz or .npy file, or a data set's name: digits, fashion-mnist, ...\n"
        "clsp COMMAND --help lists a command's options. Exit status: 0 done, 1 failed (another process of the run\n"
        "died, or verify found damaged files), 2 wrong input, 130 interrupted, 143 ended by SIGTERM, 138 put back\n"
        "into the queue of SLURM."
    )
