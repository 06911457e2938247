"""The commands by name, their options and what these mean. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of ``clsp``."""

    summary: str
    function: str
    """Name of the function in ``module``."""
    module: str = "commands"
    """The module of `clsp.cli` that has it."""
    required: tuple[str, ...] = ()
    """Options that must be given."""
    optional: tuple[str, ...] = ()
    """Further options of its own."""
    section: str | None = None
    """The recipe's section whose options it takes without a prefix; None: no recipe."""
    positional: str | None = None
    """Name of the positional arguments it takes."""
    instead: str | None = None
    """The option that stands for the positional argument, where one does."""
    flags: tuple[str, ...] = ()
    """Those of the optional ones that take no value."""
    recipe: bool = field(default=True)
    """Whether it takes the options of a recipe."""
    task: str | None = None
    """The task whose recipe that is; None: a run's."""

    @property
    def settings(self) -> type:
        """The class of the recipe's settings."""
        from importlib import import_module

        if self.task is None:
            from clsp.recipes.recipe import Recipe

            return Recipe
        found: type = import_module(f"clsp.tasks.{self.task}.config").RECIPE
        return found

    def run(self, call: Any) -> int:
        """Do what the command does; return the exit status."""
        from importlib import import_module

        status: int = getattr(import_module(f"clsp.cli.{self.module}"), self.function)(call)
        return status


def _training(
    task: str, section: str, summary: str, *more: str, required: tuple[str, ...] = ("data", "out")
) -> Command:
    """The command that trains a task; ``more``: options besides those of all of them."""
    return Command(
        summary=summary,
        function="train",
        module="tasks",
        required=required,
        optional=tuple(name for name in ("encoder", "positives", *more, "recipe") if name not in required),
        section=section,
        task=task,
    )


COMMANDS = {
    "run": Command(
        summary="all stages: images in, an encoder, its numbers and a report out; again: what is missing",
        function="run",
        required=("data", "out"),
        optional=("hours", "recipe", "diffusion", "method"),
    ),
    "diffusion": Command(
        summary="train the diffusion model",
        function="diffusion",
        required=("data", "out"),
        optional=("recipe",),
        section="diffusion",
    ),
    "synthesize": Command(
        summary="draw the bank of synthetic positives",
        function="synthesize",
        required=("data", "diffusion", "out"),
        optional=("recipe",),
        section="synthesize",
    ),
    "pretrain": Command(
        summary="train an encoder; --positives BANK adds the candidates; --weights timm|FOLDER|FILE starts from them",
        function="pretrain",
        required=("data", "out"),
        optional=("recipe", "positives"),
        section="pretrain",
    ),
    "continue": Command(
        summary="train on: a new training from all that another one had learnt, by its recipe, data and positives",
        function="continue_training",
        required=("out",),
        optional=("data", "positives"),
        section="pretrain",
        positional="RUN",
    ),
    "evaluate": Command(
        summary="linear probe, kNN, retrieval and few labels of an encoder (transfer: another --data)",
        function="evaluate",
        required=("encoder", "data"),
        optional=("recipe", "out"),
        section="evaluate",
    ),
    "embed": Command(
        summary="embeddings with name, part and label of each image, as .parquet, .npz or .csv",
        function="embed",
        required=("encoder", "data", "out"),
        optional=("recipe",),
        section="images",
    ),
    "pairs": Command(
        summary="pairs of images that an encoder finds alike, as .csv, for --positives pairs",
        function="pairs",
        required=("encoder", "data", "out"),
        optional=("recipe", "between"),
        section="images",
    ),
    "export": Command(
        summary="what was made as a folder for others, with a card: for timm, torch or ONNX; --hub uploads it",
        function="export",
        module="sharing",
        required=("out",),
        optional=("encoder", "format", "hub", "data", "license"),
        positional="PLACE",
        instead="encoder",
        recipe=False,
    ),
    "compare": Command(
        summary="a resumable grid of arms and seeds; one table: mean, 95 % interval, paired differences, cost",
        function="compare",
        required=("data", "out", "methods"),
        optional=("recipe", "seeds", "baseline", "positives"),
    ),
    "classify": _training(
        "classify", "classify", "a classifier from labels of which some may be wrong, and the list of those"
    ),
    "predict": Command(
        summary="the class of every image and how sure it is, as .csv, by what 'clsp classify' made",
        function="predict",
        module="tasks",
        required=("classifier", "data", "out"),
        recipe=False,
    ),
    "index": _training(
        "retrieval",
        "index",
        "a short code of every image, to search by: an encoder and its quantiser, trained together",
        required=("encoder", "data", "out"),
    ),
    "search": Command(
        summary="the images of an index that are most like one, with their scores",
        function="search",
        module="tasks",
        required=("index", "query"),
        optional=("k", "html"),
        recipe=False,
    ),
    "dense": _training(
        "correspondence",
        "dense",
        "an encoder whose feature map tells which place of an image is which of another, beside other features",
        "diffusion",
        "pairs",
    ),
    "correspond": Command(
        summary="draw which points of one image are which points of another",
        function="correspond",
        module="tasks",
        required=("encoder", "out"),
        optional=("layer",),
        positional="A.png B.png",
        recipe=False,
    ),
    "text": _training("text", "text", "an image and a text encoder side by side, from images with captions"),
    "zeroshot": Command(
        summary="the class of every image by the names of classes alone, as .csv, by what 'clsp text' made",
        function="zeroshot",
        module="tasks",
        required=("model", "data", "classes", "out"),
        recipe=False,
    ),
    "report": Command(
        summary="one self-contained HTML page of one or more runs",
        function="report",
        optional=("out",),
        positional="RUN",
        recipe=False,
    ),
    "explore": Command(
        summary="one self-contained HTML page to look through a run's images: map, neighbours, candidates, findings",
        function="explore",
        optional=("data", "out"),
        positional="RUN",
        recipe=False,
    ),
    "verify": Command(
        summary="compare the files of a run with the hashes they were made with; --repair makes damaged ones again",
        function="verify",
        optional=("repair",),
        flags=("repair",),
        positional="PATH",
        recipe=False,
    ),
    "doctor": Command(
        summary="what is here: versions, devices, cores, memory, disk, extras, data; and what would stop a run",
        function="doctor",
        module="sharing",
        recipe=False,
    ),
    "completion": Command(
        summary="a script with which bash, zsh or fish completes commands and options: clsp completion bash > FILE",
        function="completion",
        module="sharing",
        positional="SHELL",
        recipe=False,
    ),
    "check": Command(
        summary="what would run, what is wrong, how much time, memory and disk it takes, here or on a GPU by name",
        function="check",
        optional=("data", "hours", "recipe", "method", "gpu"),
    ),
}

METAVARS = {
    "data": "SOURCE",
    "out": "OUT",
    "recipe": "NAME|FILE",
    "diffusion": "DIR|HUB_ID",
    "method": "NAME",
    "positives": "BANK|view|NAME:BANK",
    "encoder": "DIR",
    "classifier": "DIR",
    "index": "DIR",
    "query": "IMAGE",
    "k": "N",
    "html": "FILE",
    "model": "DIR",
    "classes": "NAME,NAME,...",
    "pairs": "DIR",
    "layer": "N",
    "methods": "ARM,ARM,...",
    "seeds": "N",
    "baseline": "ARM",
    "gpu": "NAME",
    "hours": "TIME",
    "between": "LOW,HIGH",
    "repair": "",
    "format": "NAME,NAME,...",
    "hub": "USER/NAME",
    "license": "NAME",
}


MEANINGS = {
    "data": "images: a folder, an .npz or .npy file, hf:NAME, or a data set's name: digits, fashion-mnist, ...",
    "out": "where the result goes",
    "recipe": "a built-in recipe or a YAML file; the options below go before it",
    "diffusion": "a diffusers folder or a hub id, in place of training a diffusion model",
    "method": "the method, as --pretrain.method",
    "positives": "a bank's folder, the name of a source (view, nearest, ...), or NAME:BANK",
    "encoder": "an encoder's folder, or a run",
    "classifier": "the folder of a classifier",
    "index": "the folder of an index",
    "query": "an image file",
    "k": "results (10)",
    "html": "a page with their pictures",
    "model": "the folder of an image and a text encoder",
    "classes": "names of classes, of any kind",
    "pairs": "a benchmark of key points: the folder of SPair-71k, PF-PASCAL or PF-WILLOW",
    "layer": "the backbone's stage that is matched, from the end (-2)",
    "methods": "the arms: METHOD[+SOURCE[+OBJECTIVE or PLACEMENT]], as simclr,nnclr,simclr+bank+nt_xent",
    "seeds": "runs an arm (5), with the seeds from --seed on",
    "baseline": "the arm that the others are compared with (the first)",
    "gpu": "a GPU that the run is planned for: a100-40gb, h100, rtx-4090, ...",
    "hours": "time that the run may take, for the recipe folder: 1, 0.5 or 15m (an hour on a CPU, two on a GPU)",
    "between": "smallest and largest cosine of a pair (0.97,0.99)",
    "format": "of an encoder: clsp, timm, torch, onnx, onnx-int8 (clsp,onnx); of a bank: shards, parquet (shards)",
    "hub": "upload the folder to the Hugging Face hub, as a private repository where it is new",
    "license": "the licence that the card names, as the hub spells it: apache-2.0, cc-by-4.0, ... (unknown)",
    "repair": "make again what is damaged or missing, the same bytes, and leave the rest as it is",
}
