"""Each file of a finished run is known by its hash: what is damaged is named, refused when it is read, made again."""

from __future__ import annotations

import pytest

from clsp import files
from clsp.cli.repair import repair
from clsp.errors import UserError
from clsp.study.verify import verify
from workbench import clsp, copied, finished, flip, made

CELL = "arms/simclr+bank/seed-0"
UNET = "diffusion/unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def run(tmp_path):
    return copied(tmp_path / "run")


def store(run):
    """The array of the decoded train images."""
    return next(name for name in made(run) if name.endswith("/train.npy"))


def refused(capsys, *arguments):
    """Run a command that must fail; return its one line."""
    capsys.readouterr()
    assert clsp(*arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("clsp: error:")]
    assert len(lines) == 1
    return lines[0]


def data(run):
    return files.read_yaml(finished() / "recipe.yaml")["data"]["source"]


def test_a_finished_run_is_sound_and_every_file_of_it_is_known():
    verdict = verify(finished())
    assert (verdict.findings, verdict.unknown) == ([], [])
    assert verdict.compared == len(made(finished()))


def test_all_files_have_the_same_mode():
    modes = {name: (finished() / name).stat().st_mode & 0o777 for name in made(finished())}
    assert set(modes.values()) == {modes["comparison.json"]}, modes


def test_one_bit_of_any_file_is_found_and_that_file_alone_is_named(run):
    wrong = {}
    for name in made(run):
        content = (run / name).read_bytes()
        flip(run / name)
        found = [finding.path.relative_to(run).as_posix() for finding in verify(run).findings]
        if found != [name]:
            wrong[name] = found
        (run / name).unlink()
        missing = [finding.path.relative_to(run).as_posix() for finding in verify(run).findings]
        if missing != [name] and not name.endswith((".json", ".yaml")):  # a ledger that is gone lists nothing
            wrong[f"no {name}"] = missing
        (run / name).write_bytes(content)
    assert wrong == {}


@pytest.mark.parametrize(
    ("damaged", "part"),
    [
        (UNET, "diffusion"),
        ("positives/shard-00000016.npy", "positives"),
        (f"{CELL}/encoder.safetensors", CELL),
    ],
)
def test_a_part_is_verified_by_itself_and_what_was_made_from_it_is_named(run, capsys, damaged, part):
    flip(run / damaged)
    assert clsp("verify", run / part) == 1
    told = capsys.readouterr().out
    assert f"damaged: {run / damaged} is damaged" in told
    assert f"made from it: {run}" in told
    assert str(run / CELL / "evaluation") in told
    assert clsp("verify", run / "diffusion" / "scheduler") == 0


@pytest.mark.parametrize(
    "names",
    [
        ("positives/shard-00000016.npy", f"{CELL}/evaluation/each/knn.npy", "report.html"),
        (UNET, f"{CELL}/encoder.safetensors", "recipe.yaml", "encoder/encoder.safetensors"),
        ("diffusion/checkpoints/last.safetensors", f"{CELL}/metrics.jsonl", "evaluation/map.json"),
        ("STORE", "positives/sheet.png", "positives/manifest.json", "checksums.json"),
    ],
)
def test_what_is_damaged_is_made_again_with_the_same_bytes(run, capsys, names):
    names = [store(run) if name == "STORE" else name for name in names]
    for name in names:
        flip(run / name)
    assert clsp("verify", run, "--repair") == 0 or "report.html" in names
    told = capsys.readouterr().err
    before, after = ({name: (place / name).read_bytes() for name in made(place)} for place in (finished(), run))
    # The page tells the folder's name, and this is a copy.
    own = {"report.html", "checksums.json"} if {"report.html", "checksums.json"} & set(names) else set()
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} <= own
    assert told.count("was made again, the same bytes") >= len(set(names) - own)
    assert verify(run).findings == []


def test_a_repair_that_cannot_be_done_leaves_everything_as_it_was(run):
    for name in (UNET, "positives/shard-00000016.npy", "comparison.md"):
        flip(run / name)
    (run / "images.json").unlink()
    before = {name: (run / name).read_bytes() for name in made(run)}
    with pytest.raises(UserError, match="cannot be repeated"):
        repair(verify(run).findings, lambda arguments: 2)
    assert {name: (run / name).read_bytes() for name in made(run)} == before


def test_swapped_shards_are_refused(run, capsys):
    first, second = (run / "positives" / f"shard-000000{number}.npy" for number in ("00", "16"))
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])
    words = ("--recipe", "smoke", "--positives", run / "positives", "--batch_size", 16, "--epochs", 1)
    line = refused(capsys, "pretrain", "--data", data(run), *words, "--out", run / "e")
    assert "shard-00000000.npy is missing or damaged" in line


@pytest.mark.parametrize(
    ("damaged", "command"),
    [
        (UNET, ("synthesize", "--diffusion", "diffusion", "--out", "b", "--recipe", "smoke")),
        (f"{CELL}/encoder.safetensors", ("evaluate", "--encoder", CELL, "--recipe", "smoke")),
        (f"{CELL}/config.json", ("evaluate", "--encoder", CELL, "--recipe", "smoke")),
        ("comparison.json", ("report", ".")),
        ("encoder/encoder.safetensors", ("export", "--encoder", "encoder", "--out", "x")),
        ("positives/ids.npy", ("pretrain", "--positives", "positives", "--out", "e", "--recipe", "smoke")),
        ("diffusion/stage.json", ("run", "--out", ".", "--recipe", "smoke")),
    ],
)
def test_the_command_that_reads_a_damaged_file_refuses_it(run, capsys, monkeypatch, damaged, command):
    monkeypatch.chdir(run)
    place = (run / damaged).read_bytes().find(b'"mean"') if damaged.endswith("config.json") else None
    flip(run / damaged, place)
    more = () if command[0] in ("report", "export") else ("--data", data(run))
    line = refused(capsys, *command, *more)
    assert damaged.rsplit("/", 1)[-1] in line


def test_a_checkpoint_of_an_interrupted_training_is_compared_as_well(run, capsys):
    record = files.read_json(run / "diffusion/stage.json")
    files.write_json(run / "diffusion/stage.json", {**record, "status": "interrupted"})
    flip(run / "diffusion/checkpoints/last.safetensors")
    words = files.read_yaml(run / "recipe.yaml")["command"].split()[1:]
    words[words.index("--out") + 1] = str(run)
    assert "last.safetensors is no checkpoint" in refused(capsys, *words)


def test_decoded_images_that_are_damaged_are_read_again(run, capsys):
    before = (run / store(run)).read_bytes()
    flip(run / store(run))
    words = files.read_yaml(run / "recipe.yaml")["command"].split()[1:]
    words[words.index("--out") + 1] = str(run)
    assert clsp(*words) == 0
    assert "decoded again" in capsys.readouterr().err
    assert (run / store(run)).read_bytes() == before


def test_a_folder_without_hashes_is_said_and_still_opens(run, capsys):
    for path in run.rglob("stage.json"):
        record = files.read_json(path)
        del record["sha256"], record["files"]
        files.write_json(path, record)
    (run / "checksums.json").unlink()
    assert clsp("verify", run) == 0
    assert "no hashes" in capsys.readouterr().err
    assert clsp("report", run) == 0


def test_a_new_page_is_known_and_blesses_nothing_else(run):
    flip(run / "comparison.md")
    assert clsp("report", run) == 0
    assert [finding.path.name for finding in verify(run).findings] == ["comparison.md"]


def test_what_is_none_is_refused(tmp_path, capsys):
    assert "holds nothing that clsp made" in refused(capsys, "verify", tmp_path)
    with pytest.raises(UserError):
        verify(tmp_path / "nowhere")
