"""The commands: each turns a call into the stage's plain function and says what came out."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clsp import console, files, workflow
from clsp.errors import UserError
from clsp.workflow import Prepared, describe, prepare, write_provenance

if TYPE_CHECKING:
    from torch import Tensor

    from clsp.cli.calls import Call
    from clsp.images.imageset import Split


def _overrides(call: Call) -> list[str]:
    return [*call.overrides, *(["--pretrain.method", call.own["method"]] if "method" in call.own else [])]


def _prepared(call: Call, *, store: Path | None = None) -> Prepared:
    prepared = prepare(call.own["data"], recipe=call.own.get("recipe"), overrides=_overrides(call), store=store)
    describe(prepared.images)
    return prepared


def run(call: Call) -> int:
    """``clsp run``."""
    from clsp.evaluation.stage import table
    from clsp.workflow import run as run_all

    out = Path(call.own["out"])
    metrics = run_all(
        call.own["data"],
        out,
        recipe=call.own.get("recipe"),
        overrides=_overrides(call),
        diffusion=call.own.get("diffusion"),
    )
    if metrics:
        print(table(metrics))
        print(f"\nencoder: {out / 'encoder'}, loaded without clsp by {out / 'encoder' / 'snippet.py'}:\n")
        print((out / "encoder" / "snippet.py").read_text(encoding="utf-8"))
        print(f"report:  {(out / 'report.html').resolve()}")
    return 0


def diffusion(call: Call) -> int:
    """``clsp diffusion``."""
    out = Path(call.own["out"])
    prepared = _prepared(call)
    workflow.diffusion_stage(prepared, out)
    write_provenance(out, prepared, call.own["data"])
    print(f"diffusion model: {out} (diffusers.DDPMPipeline.from_pretrained loads it), samples: {out / 'samples.png'}")
    return 0


def synthesize(call: Call) -> int:
    """``clsp synthesize``."""
    out = Path(call.own["out"])
    prepared = _prepared(call)
    bank = workflow.bank_stage(prepared, call.own["diffusion"], out)
    write_provenance(out, prepared, call.own["data"])
    for name, entry in bank.manifest["measures"].items():
        print(f"{name:<26}{entry['value']:>9.4f}   {entry['meaning']}")
    print(f"bank: {out}, {len(bank)} anchors x {bank.candidates} candidates; look at {out / 'sheet.png'}")
    return 0


def pretrain(call: Call) -> int:
    """``clsp pretrain``."""
    out = Path(call.own["out"])
    prepared = _prepared(call)
    workflow.encoder_stage(prepared, out, call.own.get("positives"))
    write_provenance(out, prepared, call.own["data"])
    print(f"encoder: {out / 'encoder.safetensors'}; load it without clsp: {out / 'snippet.py'}")
    return 0


def evaluate(call: Call) -> int:
    """``clsp evaluate``."""
    from clsp.evaluation.stage import NO_LABELS

    folder = workflow.encoder_folder(call.own["encoder"])
    prepared = _for_encoder(call, folder)
    result = workflow.rate(folder, prepared)
    record: dict[str, object] = {"encoder": str(folder), "data": call.own["data"], "notes": list(prepared.images.notes)}
    if result.linear is None or result.knn is None:
        print(NO_LABELS)
        record["skipped"] = NO_LABELS
    else:
        for name, score in (("linear", result.linear), ("kNN", result.knn)):
            top5 = "" if score.top5 is None else f", top-5 {score.top5:.2f}"
            interval = f"95 % interval {score.low:.2f} to {score.high:.2f}"
            print(f"{name:<7} top-1 {score.top1:.2f} % ({interval}){top5}\n        {score.protocol}")
        for more in (result.retrieval, *result.few_labels):
            if more is not None:
                print(f"{more}\n        {more.protocol}")
    if "out" in call.own:
        files.write_json(Path(call.own["out"]), record | result.record())
    return 0


def embed(call: Call) -> int:
    """``clsp embed``."""
    out = Path(call.own["out"])
    if out.suffix not in (".npz", ".csv"):
        raise UserError(f"--out {out}: embeddings are written as .npz or .csv; choose one of these endings")
    folder = workflow.encoder_folder(call.own["encoder"])
    prepared = _for_encoder(call, folder)
    splits = [split for split in (prepared.images.train, prepared.images.test) if split is not None]
    names = [name for split in splits for name in split.names]
    table = np.concatenate([features.numpy() for features in _features(folder, prepared, splits)])
    if out.suffix == ".csv":
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        writer.writerow(["name", *(f"f{i}" for i in range(table.shape[1]))])
        writer.writerows([name, *(f"{value:.6g}" for value in row)] for name, row in zip(names, table))
        files.write_text(out, buffer.getvalue())
    else:
        with files.atomic(out) as file:
            np.savez(file, names=np.array(names), embeddings=table)
    print(f"{len(names)} embeddings of {table.shape[1]} values: {out}")
    return 0


def pairs(call: Call) -> int:
    """``clsp pairs``."""
    from clsp.evaluation.pairs import mine_pairs

    out, (low, high) = Path(call.own["out"]), _bounds(call.own.get("between", "0.97,0.99"))
    if out.suffix != ".csv":
        raise UserError(f"--out {out}: pairs are written as .csv; choose this ending")
    folder = workflow.encoder_folder(call.own["encoder"])
    prepared = _for_encoder(call, folder)
    train = prepared.images.train
    (features,) = _features(folder, prepared, [train])
    found = mine_pairs(features, low, high)
    found.save(out, train)
    share, agreement = len(np.unique(found.places)) / len(train), found.agreement(train.labels)
    told = "" if agreement is None else f"; {agreement:.1%} of the pairs have one label"
    print(f"{len(found.places)} pairs of {share:.1%} of the train images, cosine {low:g} to {high:g}{told}: {out}")
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
    from clsp.engine.hardware import device_of
    from clsp.evaluation.features import encode_by

    return encode_by(folder, [split.images for split in splits], device=device_of(prepared.recipe.hardware))


def export(call: Call) -> int:
    """``clsp export``."""
    from clsp.encoders.export import export_onnx, load_encoder, read_spec, save_encoder

    folder, out = workflow.encoder_folder(call.own["encoder"]), Path(call.own["out"])
    encoder, spec = load_encoder(folder), read_spec(folder)
    ours = files.read_json(folder / "config.json")["clsp"]
    save_encoder(out, encoder, spec, {n: v for n, v in ours.items() if n not in ("stem", "args")})
    try:
        export_onnx(encoder, spec, out / "encoder.onnx")
    except UserError as error:
        console.say(f"encoder.onnx was not written: {error}")
    print(
        f"exported: {', '.join(sorted(str(path) for path in out.iterdir() if path.is_file() and path.name[0] != '.'))}"
    )
    return 0


def compare(call: Call) -> int:
    """``clsp compare``."""
    from clsp.comparison.arms import parse_arm, parse_arms
    from clsp.comparison.collect import SCORES
    from clsp.comparison.compare import compare as run_grid
    from clsp.comparison.table import pairs as table_of_pairs
    from clsp.comparison.table import table
    from clsp.report.comparison import build_comparison

    out, arms = Path(call.own["out"]), parse_arms(call.own["methods"])
    baseline = parse_arm(call.own["baseline"]) if "baseline" in call.own else None
    seeds = _whole_number("seeds", call.own.get("seeds", "5"))
    prepared = _prepared(call, store=out / "images")
    write_provenance(out, prepared, call.own["data"])
    bank = Path(call.own["positives"]) if "positives" in call.own else None
    result = run_grid(prepared, out, arms, seeds=seeds, baseline=baseline, bank=bank)
    if not result:
        return 0
    text = table(result)
    protocols = [f"{name}: {protocol}" for name, protocol in result["protocols"].items()]
    differences = [f"{score}, each row minus each column:\n\n{table_of_pairs(result, score)}" for score in SCORES]
    files.write_text(out / "comparison.md", "\n\n".join([text, *protocols, *differences]) + "\n")
    print(text)
    print(f"\ncomparison: {out / 'comparison.json'}")
    print(f"report: {build_comparison(out).resolve()}")
    return 0


def _whole_number(name: str, text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise UserError(f"--{name} '{text}' must be a whole number of at least 1")
    return int(text)


def report(call: Call) -> int:
    """``clsp report``."""
    from clsp.report.comparison import build_comparison
    from clsp.report.page import build_report, build_report_of_runs

    runs = [Path(name) for name in call.positional]
    if len(runs) == 1 and (runs[0] / "comparison.json").is_file():
        out = Path(call.own["out"]) if "out" in call.own else None
        print(build_comparison(runs[0], out).resolve())
        return 0
    for path in runs:
        if (path / "comparison.json").is_file():
            raise UserError(f"{path} is a comparison, which has a page of its own; call clsp report {path}")
        if not (path / "recipe.yaml").is_file() or (path / "stage.json").is_file():
            raise UserError(f"{path} is no run (no recipe.yaml there); give the --out of a 'clsp run'")
    if len(runs) == 1 and "out" not in call.own:
        print(build_report(runs[0]).resolve())
    else:
        print(build_report_of_runs(runs, Path(call.own.get("out", "report.html"))).resolve())
    return 0


def check(call: Call) -> int:
    """``clsp check``."""
    from clsp.preflight import preflight
    from clsp.preflight.source import prepare_plan

    gpu = call.own.get("gpu")
    prepared, there = prepare_plan(
        call.own.get("data"), recipe=call.own.get("recipe"), overrides=_overrides(call), gpu=gpu is not None
    )
    print(preflight(prepared, gpu=gpu, there=there))
    return 0


def _for_encoder(call: Call, folder: Path) -> Prepared:
    prepared = workflow.prepare_for(folder, call.own["data"], recipe=call.own.get("recipe"), overrides=call.overrides)
    describe(prepared.images)
    return prepared
