"""What was found, in sentences for the screen and the page."""

from __future__ import annotations

from clsp.evaluation.findings.clusters import Clusters
from clsp.evaluation.findings.duplicates import Duplicates
from clsp.evaluation.findings.outliers import Outliers
from clsp.evaluation.findings.state import State
from clsp.evaluation.spread import COLLAPSED, FEW_DIRECTIONS, UNSURE

_SURE = 0.9
"""Fraction of views that find their image, from which on it is nearly always."""
_DISTINCT, _VAGUE = 0.5, 0.25
"""Silhouettes: from the first on clusters are apart, below the second there are none to speak of (Kaufman and Rousseeuw
1990)."""


def plural(count: int, one: str, many: str = "") -> str:
    """Write a count with its noun: ``1 pair``, ``2 pairs``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def headline(total: int, state: State, clusters: Clusters, duplicates: Duplicates, outliers: Outliers) -> str:
    """All findings in a sentence; of a collapsed encoder, that it is one."""
    if state.deviation < COLLAPSED:
        return f"The encoder has collapsed: its {total:,} images have nearly one embedding."
    pairs, apart = len(duplicates.places), outliers.count
    copies = f"{plural(pairs, 'pair')} of near-duplicates" if pairs else "no near-duplicates"
    stand = f"{plural(apart, 'image')} that {'stands' if apart == 1 else 'stand'} out" if apart else "no outliers"
    return f"{total:,} images: {plural(len(clusters.sizes), 'cluster')}, {copies}, {stand}."


def of_state(state: State) -> list[str]:
    """Whether the encoder is in good health."""
    if state.deviation < COLLAPSED:
        return [
            f"The encoder has collapsed: all images get nearly the same embedding (deviation {state.deviation:.3f}; "
            "1 is healthy). Nothing below means anything; try a lower learning rate, a longer warm-up, or a larger "
            "batch."
        ]
    used = f"The embeddings use about {state.effective_rank:.0f} of {state.dimensions} directions (effective rank)"
    if state.effective_rank < FEW_DIRECTIONS:
        used += ": too few to tell much apart; try weaker augmentation, or a longer training."
    else:
        used += ": no collapse."
    chance = f"by chance {100 / state.pool:.2g} %"
    if state.self_retrieval >= _SURE:
        meaning = "the encoder recognises single images"
    elif state.self_retrieval >= UNSURE:
        meaning = "the encoder recognises most images, and takes the others for images that look like them"
    elif state.self_retrieval > 10 / state.pool:
        meaning = "the encoder recognises few single images; trained longer it may see more"
    else:
        meaning = "the encoder hardly tells images apart; train it longer"
    found = (
        f"{100 * state.self_retrieval:.0f} % of {plural(state.tried, 'changed view')} (cropped to half or more, "
        f"mirrored, recoloured) lie nearest to their own image among {state.pool:,} ({chance}): {meaning}."
    )
    return [used, found]


def of_clusters(clusters: Clusters) -> str:
    """How far the clusters are apart."""
    if not clusters.silhouettes:
        return "There are too few images for clusters."
    value = clusters.silhouette
    if value >= _DISTINCT:
        meaning = "the clusters are apart"
    elif value >= _VAGUE:
        meaning = "the clusters touch; images at their borders could belong to either"
    else:
        meaning = "the images form one cloud without gaps, and the clusters are its regions"
    return f"{plural(len(clusters.sizes), 'cluster')} with a silhouette of {value:.2f}: {meaning}."


def of_duplicates(duplicates: Duplicates, across: int) -> str:
    """How many near-duplicates there are; ``across``: pairs with one image in train and one in test."""
    count = len(duplicates.places)
    if not count:
        return "No near-duplicates were found."
    told = f"{plural(count, 'pair')} of near-duplicates in {plural(duplicates.groups, 'group')}"
    if across:
        told += f"; {plural(across, 'pair lies', 'pairs lie')} across train and test, which flatters any accuracy"
    return told + "."


def of_outliers(outliers: Outliers) -> str:
    """How many images stand out, and what is usual."""
    usual = f"the usual distance is {outliers.median:.3g}"
    if not outliers.count:
        return f"No image stands out; {usual}. These are the farthest."
    stand = plural(outliers.count, "image stands", "images stand")
    return f"{stand} out, with a distance above {outliers.line:.3g}; {usual}."


def of_limits(searched: int, total: int) -> str:
    """What was left out of the search; nothing where nothing was."""
    if searched == total:
        return ""
    return (
        f"Near-duplicates and outliers were searched among {searched:,} of {total:,} images, chosen at random by the "
        "seed; all images have a cluster."
    )
