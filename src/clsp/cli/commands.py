"""The commands: each turns a call into the stage's plain function and says what came out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clsp import api, console, files
from clsp.cli.calls import whole_number
from clsp.encoders.export import encoder_folder
from clsp.errors import UserError
from clsp.recipes.prepare import Prepared
from clsp.study import stages
from clsp.study.record import describe
from clsp.study.run import run as run_study
from clsp.study.seal import changing
from clsp.text import quoted

if TYPE_CHECKING:
    from torch import Tensor

    from clsp.cli.calls import Call
    from clsp.images.imageset import Split


def run(call: Call) -> int:
    """``clsp run``."""
    own, out = call.own, Path(call.own["out"])
    given = {name: own.get(name) for name in ("recipe", "diffusion", "hours")}
    result = run_study(own["data"], out, overrides=call.overrides, **given)
    if result:
        _tell(result, out)
    return 0


def _tell(result: dict[str, Any], out: Path) -> None:
    """Print the table of a study, what was found in the images, what to do next, and where all of it lies."""
    from clsp.encoders.export import read_spec, snippet
    from clsp.study.findings import EMBEDDINGS, headline
    from clsp.study.gate import note
    from clsp.study.table import text

    console.result(f"{text(result)}\n\ntable:   {out / 'comparison.md'}")
    for line in note(result.get("gate")):
        console.result(line)
    encoder = out / "encoder"
    if found := headline(out):
        console.result(f"images:  {found}\n         {out / 'findings'}, {out / EMBEDDINGS}")
    if (encoder / "config.json").exists():
        console.result(_onward(out))
        console.result(f"encoder: {encoder}, loaded without clsp by {encoder / 'snippet.py'}, or in a notebook:")
        script = snippet(read_spec(encoder), encoder.resolve() / "encoder.safetensors")
        console.result(script.replace("\n\n", "\n").rstrip())  # short, so that the table stays in sight
    console.result(f"report:  {(out / 'report.html').resolve()}")


def _onward(out: Path) -> str:
    """The commands that go on from a run, a line each."""
    run, model = quoted(str(out)), quoted(f"{out}-model")
    commands = {
        f"clsp explore {run}": "a page to look through your images",
        f"clsp embed --encoder {run} --data NEW_FOLDER --out new.parquet": "embeddings of other images",
        f"clsp export --encoder {run} --out {model}": "the encoder for timm, and as ONNX",
        f"clsp evaluate --encoder {run} --data LABELLED_FOLDER": "how well it tells classes",
    }
    width = max(map(len, commands))
    lines = [f"{command.ljust(width)}  # {meaning}" for command, meaning in commands.items()]
    return "next:    " + "\n         ".join(lines)


def diffusion(call: Call) -> int:
    """``clsp diffusion``."""
    from clsp.publish.generator import loader_of

    out = api.train_diffusion(**_given(call))
    loader = loader_of(out)
    console.result(f"diffusion model: {out} ({loader}.from_pretrained loads it), samples: {out / 'samples.png'}")
    return 0


def synthesize(call: Call) -> int:
    """``clsp synthesize``."""
    from clsp.positives.gate import told, verdict_of

    bank = api.synthesize(**_given(call))
    for name, entry in bank.manifest["measures"].items():
        console.result(f"{name:<26}{entry['value']:>9.4f}   {entry['meaning']}")
    verdict = verdict_of(bank)
    for name, one in verdict.measures.items() if verdict else ():
        console.result(f"{name:<26}{one.value:>9.4f}   {one.meaning} ({one.good} {one.line:g})")
    console.result(
        f"bank: {bank.folder}, {len(bank)} anchors x {bank.candidates} candidates; look at {bank.folder / 'sheet.png'}"
    )
    if verdict is not None:
        console.result(told(verdict))
    return 0


def pretrain(call: Call) -> int:
    """``clsp pretrain``."""
    out = api.pretrain(**_given(call))
    console.result(f"encoder: {out / 'encoder.safetensors'}; load it without clsp: {out / 'snippet.py'}")
    return 0


def continue_training(call: Call) -> int:
    """``clsp continue``."""
    if len(call.positional) != 1:
        raise UserError(f"clsp continue takes one RUN, not {len(call.positional)}")
    out = api.continue_training(call.positional[0], **_given(call))
    console.result(f"encoder: {out / 'encoder.safetensors'}; load it without clsp: {out / 'snippet.py'}")
    return 0


def _given(call: Call) -> dict[str, Any]:
    """The arguments of the function that the command stands for."""
    return {**call.own, "settings": call.overrides}


def evaluate(call: Call) -> int:
    """``clsp evaluate``."""
    folder = encoder_folder(call.own["encoder"])
    prepared = _for_encoder(call, folder)
    result = stages.evaluate_stage(folder, prepared)
    if result.skipped:
        console.result(result.skipped)
    for one in result.measures:
        console.result(f"{one}\n        {one.protocol}")
    if "out" in call.own:
        record = {"encoder": str(folder), "data": call.own["data"], "notes": list(prepared.images.notes)}
        files.write_json(Path(call.own["out"]), record | result.record())
    return 0


def embed(call: Call) -> int:
    """``clsp embed``."""
    from clsp.evaluation.embeddings import Embeddings, parts_of, require_ending

    out = Path(call.own["out"])
    require_ending(out)
    folder = encoder_folder(call.own["encoder"])
    prepared = _for_encoder(call, folder)
    splits = [split for _, split in parts_of(prepared.images)]
    embeddings = Embeddings.of(prepared.images, _features(folder, prepared, splits))
    embeddings.save(out)
    console.result(f"{len(embeddings)} embeddings of {embeddings.values.shape[1]} values: {out}")
    return 0


def pairs(call: Call) -> int:
    """``clsp pairs``."""
    from clsp.evaluation.pairs import mine_pairs

    out, (low, high) = Path(call.own["out"]), _bounds(call.own.get("between", "0.97,0.99"))
    if out.suffix != ".csv":
        raise UserError(f"--out {out}: pairs are written as .csv; choose this ending")
    folder = encoder_folder(call.own["encoder"])
    prepared = _for_encoder(call, folder)
    train = prepared.images.train
    (features,) = _features(folder, prepared, [train])
    found = mine_pairs(features, low, high)
    found.save(out, train)
    fraction, agreement = len(np.unique(found.places)) / len(train), found.agreement(train.labels)
    told = "" if agreement is None else f"; {agreement:.1%} of the pairs have one label"
    console.result(
        f"{len(found.places)} pairs of {fraction:.1%} of the train images, cosine {low:g} to {high:g}{told}: {out}"
    )
    return 0


def _bounds(text: str) -> tuple[float, float]:
    """Read LOW,HIGH."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = 1.0, -1.0
    if not -1.0 <= low < high <= 1.0:
        raise UserError(f"--between '{text}' must be two cosines, the smaller one first: 0.97,0.99")
    return low, high


def _features(folder: Path, prepared: Prepared, splits: list[Split]) -> list[Tensor]:
    """Features of all images of each part, float32 [N, D] on the CPU; the recipe's device encodes them."""
    from clsp.encoders.features import encode_by
    from clsp.engine.hardware import device_of
    from clsp.engine.threads import bind

    bind()
    return encode_by(folder, [split.images for split in splits], device=device_of(prepared.recipe.hardware))


def compare(call: Call) -> int:
    """``clsp compare``."""
    from clsp.study.compare import compare as compared

    own, seeds = call.own, whole_number("seeds", call.own.get("seeds", "5"))
    given: dict[str, Any] = {name: own.get(name) for name in ("methods", "baseline", "positives", "recipe")}
    result = compared(own["data"], own["out"], seeds=seeds, overrides=call.overrides, **given)
    if result:
        _tell(result, Path(own["out"]))
    return 0


def report(call: Call) -> int:
    """``clsp report``."""
    from clsp.report.page import build_report, build_report_of_several

    folders = [Path(name) for name in call.positional]
    for path in folders:
        made = (path / "comparison.json").is_file() or (path / "recipe.yaml").is_file()
        if not made or (path / "stage.json").is_file():
            raise UserError(f"{path} is no run (no recipe.yaml there); give the --out of 'clsp run' or 'clsp compare'")
    out = Path(call.own["out"]) if "out" in call.own else None
    if len(folders) == 1 and out is None:
        with changing(folders[0], "report.html"):
            console.result(build_report(folders[0]).resolve())
    elif len(folders) == 1:
        console.result(build_report(folders[0], out).resolve())
    else:
        console.result(build_report_of_several(folders, out or Path("report.html")).resolve())
    return 0


def explore(call: Call) -> int:
    """``clsp explore``."""
    if len(call.positional) != 1:
        raise UserError(f"clsp explore takes one RUN, not {len(call.positional)}")
    written = api.explore(call.positional[0], **call.own)
    times = ", ".join(f"{name} {console.duration(seconds)}" for name, seconds in written.seconds.items())
    console.result(
        f"page: {written.path.resolve()}, {written.images:,} images, {written.bytes / 1e6:.1f} MB ({times})\n"
        "Open it in a browser: point at a dot to see its image, click it for its neighbours and candidates.\n"
        "Below the map are near-duplicates, outliers, clusters and doubtful labels; a lasso selects, for a CSV file."
    )
    return 0


def verify(call: Call) -> int:
    """``clsp verify``: 0 where all is sound or was made again, 1 where something is not."""
    from clsp.cli.main import dispatch
    from clsp.cli.repair import repair
    from clsp.study.verify import verify as compared

    status = 0
    for place in map(Path, call.positional):
        verdict = compared(place)
        for folder in verdict.unknown:
            console.say(f"verify: {folder} has no hashes: it is not finished, or an older version made it")
        for finding in verdict.findings:
            console.result(f"damaged: {finding}")
        if verdict.findings and "repair" in call.own:
            repaired = repair(verdict.findings, dispatch)
            verdict = compared(place)
            status |= not repaired
        status |= bool(verdict.findings)
        console.result(f"{place}: {verdict.compared} files compared, {len(verdict.findings)} damaged or missing")
    return int(status)


def check(call: Call) -> int:
    """``clsp check``."""
    from clsp.preflight import preflight
    from clsp.preflight.source import prepare_plan

    own, gpu = call.own, call.own.get("gpu")
    planned = prepare_plan(
        own.get("data"), recipe=own.get("recipe"), overrides=call.overrides, gpu=gpu, hours=own.get("hours")
    )
    if planned.there:
        describe(planned.prepared.images)
    if planned.said:
        console.result("\n".join(planned.said) + "\n")
    console.result(preflight(planned.prepared, gpu=gpu, there=planned.there))
    return 0


def _for_encoder(call: Call, folder: Path) -> Prepared:
    prepared = stages.prepare_for(folder, call.own["data"], recipe=call.own.get("recipe"), overrides=call.overrides)
    describe(prepared.images)
    return prepared
