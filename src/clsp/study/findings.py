"""What a person finds after a study, with labels or without: the embeddings of all images, and what they show."""

from __future__ import annotations

from pathlib import Path

from clsp import files
from clsp.engine.record import read_record
from clsp.engine.stage import stage
from clsp.evaluation.embeddings import embed_all
from clsp.evaluation.findings.search import MAKES, search
from clsp.settings.values import plain
from clsp.study.study import Study

EMBEDDINGS = "embeddings.parquet"
"""The table of all embeddings, in the study's folder."""


def headline(out: Path) -> str:
    """What was found in a study's images, in a sentence; nothing where nothing was searched.

    Raises:
        UserError: the file that tells it is damaged.
    """
    path = out / "findings" / "findings.json"
    if not path.exists():
        return ""
    with files.foreign(path):
        return str(files.read_json(path)["told"]["headline"])


def explore(study: Study) -> None:
    """Write ``embeddings.parquet``, and into ``findings/`` near-duplicates, outliers, clusters and the encoder's state.

    They are of the main arm's first run. The first process does it. What is there is kept as long as encoder and images
    are the same; a table that is gone is written again, the same bytes.
    """
    arm, seed, recipe = study.main, study.seeds[0], study.prepared.recipe
    encoder, there = study.identity(arm, seed)
    if not there:
        return
    views = (recipe.pretraining(arm) if arm.trains else recipe.pretrain).augment
    made = {"encoder": encoder, "test": study.test, "views": files.fingerprint(plain(views))}
    where, path = (study.out / "findings", recipe.evaluate), study.out / EMBEDDINGS
    record = read_record(where[0])
    if record and record.finished and record.inputs == {"data": study.data, **made} and path.exists():
        return
    with stage("findings", *where, seed=recipe.seed, data=study.data, made=made, makes=MAKES, alone=True) as current:
        trained = study.trained(arm, seed)
        embeddings = embed_all(trained, study.prepared.images)
        embeddings.save(path)
        if not current.finished:
            search(trained, embeddings, views, seed=recipe.seed).save(current.folder)
