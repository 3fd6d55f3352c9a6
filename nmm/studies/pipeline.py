"""From a preset's name to its records: prepare the corpus, then train what is missing."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from nmm.config import TASKS, content_hash
from nmm.data.corpus import store
from nmm.data.corpus.embedded import VERSION, embedded_corpus, entropy
from nmm.data.corpus.four import VERSION as FOUR_VERSION
from nmm.data.corpus.four import four_corpus
from nmm.data.corpus.prepare import CLEANING, prepare
from nmm.data.corpus.scenes import VERSION as SCENES_VERSION
from nmm.data.corpus.scenes import scenes_corpus
from nmm.data.generated import four
from nmm.data.generated.scenes import KINDS as SCENE_KINDS
from nmm.data.generated.scenes import Scenes
from nmm.data.generated.world import World
from nmm.studies.study import LISTED, Listed, Study, find_study
from nmm.sweep import CHECKPOINT_SECONDS, Executor, Summary, make, sweep, write_jobs

WORK = Path("work")             # ignored by git: corpora, own runs, executed chapters
WORLD_SEED = 0
FOLDERS = {"caption": ("caption", "image_caption"), "interleaved": ("interleaved",), "text": ("text",), "conversation": ("conversation",)}


def sources(data: str | Path, tasks: Sequence[str] = TASKS) -> list[tuple[str, Path]]:
    """The data types of a folder of real data, each in a subfolder of its name.

    Args:
        data: the folder.
        tasks: the data types wanted.

    Raises:
        FileNotFoundError: the folder is not there.
        ValueError: a data type has no subfolder, or an empty one; the expected names are listed.
    """
    data = Path(data)
    if not data.is_dir():
        raise FileNotFoundError(f"no data folder {data}: give a folder with {_expected(tasks)}")
    found = []
    for task in tasks:
        folder = next((data / name for name in FOLDERS[task] if (data / name).is_dir()), None)
        if folder is None or not any(folder.iterdir()):
            raise ValueError(f"{data} has no files for data type {task!r}: expected {_expected(tasks)}")
        found.append((task, folder))
    return found


def _expected(tasks: Sequence[str]) -> str:
    return ", ".join(f"a subfolder {' or '.join(FOLDERS[task])} for {task} data" for task in tasks)


def prepare_corpus(
    study: Study | Listed, data: str | Path | None, work: Path = WORK, corpus_dir: str | Path | None = None
) -> store.Corpus:
    """The corpus of a study, one for all its mixtures: generated, or prepared from a folder of real data; opened if it is there.

    Args:
        study: its largest budget and its mixtures decide how much is generated.
        data: folder of real data; None: the generated corpus.
        work: where the corpus goes, under `corpora`.
        corpus_dir: another place for it.

    Raises:
        ValueError, OSError: the data cannot be used; the file is named.
    """
    asks = ("conversation",) * any("conversation" in weights for weights in study.mixtures.values())
    if data is None:
        if study.name in LISTED:
            raise ValueError(f"preset {study.name!r} needs real data: give --data DIR; --dry-run says what it takes, without any")
        kinds = SCENE_KINDS if study.scenes is not None else four.KINDS if study.four else (*TASKS, *asks)
        most = _most(study, kinds)
        tokens = round(study.max_tokens * sum(most.values()))
        name = f"generated-{VERSION}-{tokens}" if len(study.mixtures) == 1 else f"generated-{VERSION}-{tokens}-{content_hash(most)}"
        if study.scenes is not None:
            name = f"scenes-{SCENES_VERSION}-{tokens}-{study.scenes:g}-{content_hash(most)}"
            return scenes_corpus(corpus_dir or work / "corpora" / name, tokens=tokens, weights=most, shared=study.scenes, seed=WORLD_SEED)
        if study.four:
            name = f"four-{FOUR_VERSION}-{tokens}-{content_hash(most)}"
            return four_corpus(corpus_dir or work / "corpora" / name, tokens=tokens, weights=most, seed=WORLD_SEED)
        if study.long:
            name += f"-long-{study.long}"
        if (study.image_grid, study.contexts) != (Study.image_grid, Study.contexts):
            name += f"-grid-{study.image_grid}-contexts-{study.contexts}"
        kinds = [kind for kind in kinds if most[kind]] if study.long else kinds
        return embedded_corpus(
            corpus_dir or work / "corpora" / name, tokens=tokens, weights=most, seed=WORLD_SEED, kinds=kinds, long=study.long,
            grids=(study.image_grid,), contexts=study.contexts,
        )
    # a study of long documents has those data types alone that its mixtures name
    tasks = [task for task in TASKS if any(task in weights for weights in study.mixtures.values())] if getattr(study, "long", 0) else TASKS
    found = sources(data, (*tasks, *asks))
    told = {"path": str(Path(data).resolve()), "reading": CLEANING, **study.prepared, **({"kinds": list(asks)} if asks else {})}
    name = f"{Path(data).resolve().name}-{content_hash(told)}"
    out = Path(corpus_dir or work / "corpora" / name)
    prepare(found, out, validation=study.validation_share, **study.prepared)
    return store.open(out)


def _most(study: Study, kinds: Sequence[str]) -> dict[str, float]:
    """The largest share that any mixture of a study has of each data type of the generated corpus.

    Raises:
        ValueError: a mixture has other sources than these, or weights that do not sum to 1.
    """
    for name, weights in study.mixtures.items():
        if not (weights.keys() <= set(kinds) and math.isclose(sum(weights.values()), 1)):
            raise ValueError(f"mixture {name!r} of study {study.name!r}: shares of {', '.join(kinds)} that sum to 1, got {dict(weights)}")
    return {kind: max(weights.get(kind, 0.0) for weights in study.mixtures.values()) for kind in kinds}


def run_study(
    preset: str,
    *,
    runs_dir: str | Path | None = None,
    data: str | Path | None = None,
    corpus_dir: str | Path | None = None,
    max_epochs: int | None = None,
    jobs: int | None = None,
    executor: str | Executor = "local",
    options: Mapping[str, Any] | None = None,
    retry_failed: bool = False,
    branch: bool = True,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    work: Path = WORK,
) -> tuple[Summary, Path]:
    """Train what is missing of a study.

    Args:
        preset: name of the study.
        runs_dir: folder of the records; default: work/runs/PRESET, or work/runs/PRESET-DATA.
        data: folder of real data; default: the generated corpus.
        corpus_dir: folder for the prepared corpus; default: one under work/corpora.
        max_epochs: how often the data may be repeated; default: the preset's.
        jobs: families trained at a time; None: as many as the executor thinks fit.
        executor: who trains them, see `nmm.sweep.EXECUTORS`.
        options: of the executor, see `nmm.sweep.executors.options`.
        retry_failed: train failed runs again.
        branch: let budgets of one model share a trunk.
        checkpoint_seconds: time between checkpoints of a run [s].
        work: folder for corpora and records.
    Returns:
        What happened, and the folder of the records.
    Raises:
        ValueError: unknown preset, unusable data, or a corpus too small for the budgets.
        OSError: see `sweep`.
    """
    if isinstance(executor, str):       # what is wrong with its options is said before a corpus is made
        executor = make(executor, jobs, options)
    summaries, folder = [], Path()
    for work_to_do in _works(preset, runs_dir, data, corpus_dir, max_epochs, work):
        folder = work_to_do["runs_dir"]
        summaries.append(sweep(**work_to_do, jobs=jobs, executor=executor, retry_failed=retry_failed, branch=branch,
                               checkpoint_seconds=checkpoint_seconds))
    return reduce(add, summaries), folder


def write_study(
    preset: str,
    folder: str | Path,
    *,
    runs_dir: str | Path | None = None,
    data: str | Path | None = None,
    corpus_dir: str | Path | None = None,
    max_epochs: int | None = None,
    work: Path = WORK,
) -> list[Path]:
    """Prepare a study's corpus and write a file for each family of its runs, to be launched one by one (`nmm.sweep.launch`).

    Args:
        folder: where the files go.
        preset, runs_dir, data, corpus_dir, max_epochs, work: as for `run_study`.
    Returns:
        The files, that of the longest run first.
    """
    works = _works(preset, runs_dir, data, corpus_dir, max_epochs, work)
    return [path for own in works for path in write_jobs(folder=folder, **own)]


def _works(
    preset: str, runs_dir: str | Path | None, data: str | Path | None, corpus_dir: str | Path | None, max_epochs: int | None, work: Path
) -> Iterator[dict[str, Any]]:
    """What a sweep and a launch of the same study have in common; of a study and of those on other corpora that belong to it.

    Real data are prepared in one way: there the study is alone.
    """
    own = _work(preset, runs_dir, data, corpus_dir, max_epochs, work)
    yield own
    for other in () if data is not None else find_study(preset).also:
        yield _work(other, own["runs_dir"], None, Path(corpus_dir) / other if corpus_dir else None, max_epochs, work)


def _work(
    preset: str, runs_dir: str | Path | None, data: str | Path | None, corpus_dir: str | Path | None, max_epochs: int | None, work: Path
) -> dict[str, Any]:
    """One study on its corpus."""
    study = find_study(preset)
    if max_epochs is not None:
        study = replace(study, max_epochs=max_epochs)
    corpus = prepare_corpus(study, data, work, corpus_dir)
    name = preset if data is None else f"{preset}-{Path(data).resolve().name}"
    if data is not None:
        floors = None
    elif study.scenes is not None:
        floors = Scenes(WORLD_SEED, study.scenes).entropy(corpus.image_tokenizer)
    elif study.four:
        floors = four.entropy(World(WORLD_SEED), {modality: corpus.coder(modality) for modality in corpus.first_codes})
    else:
        floors = entropy(WORLD_SEED, [kind for kind in TASKS if kind in corpus.sources], study.long)
    return {
        "grid": study.grid(corpus), "corpus": corpus.folder, "runs_dir": Path(runs_dir or work / "runs" / name),
        "entropy": floors,
    }
