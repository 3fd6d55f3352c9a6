"""The generated corpus on disk: written once, through the same packing and store as real data."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from nmm.config import GENERATED, TASKS, content_hash
from nmm.data.corpus import store
from nmm.data.corpus.store import Corpus
from nmm.data.corpus.tokenizer import Tokenizer
from nmm.data.corpus.write import write_corpus
from nmm.data.documents import Document
from nmm.data.files import write_json
from nmm.data.generated import audio as generated_audio
from nmm.data.generated import long as generated_long
from nmm.data.generated import questions as generated_questions
from nmm.data.generated import video as generated_video
from nmm.data.generated import world as generated

VALIDATION_DOCUMENTS = 1024     # held out from each source: 256 packed sequences of captions
LONG_VALIDATION = 1 << 17       # held out from each source of long documents [tokens]
VERSION = 5                     # raise when the same seed gives other documents
LONG_VERSION = 2                # and when it gives other long ones
QUESTIONS_VERSION = 1           # and when it asks otherwise


def embedded_corpus(out: str | Path, *, tokens: int, weights: dict[str, float], seed: int = 0,
                    kinds: Sequence[str] = TASKS, grids: Sequence[int] = (generated.GRID,), long: int = 0, contexts: int = 1) -> Corpus:
    """Write, or open if it is there, the generated corpus for a training budget.

    Args:
        out: corpus folder.
        tokens: largest training budget it must hold without repetition, all data types together [tokens].
        weights: share of tokens by data type.
        seed: of the world and of its documents.
        kinds: the data types wanted, of caption, interleaved, text, audio, video and conversation. With conversations, the
            world withholds pairs of colour and shape, see `nmm.data.generated.questions`.
        grids: resolutions of images, which take turns [patches along a side].
        contexts: how many times as long sequences are as captions ask for; they hold as many more documents.
        long: tokens of every document, one a sequence, see `nmm.data.generated.long`; 0: the short documents of the world.
    Raises:
        ValueError: `out` holds another corpus, or a data type or a resolution is unknown, or a data type has no weight.
    """
    asks = "conversation" in kinds
    world = generated.World(seed, tuple(grids), withheld=asks)
    if asks and (long or set(kinds) - {*TASKS, "conversation"}):
        raise ValueError(f"conversations stand beside {', '.join(TASKS)} in short documents: got kinds {', '.join(kinds)}, long = {long}")
    if long and tuple(grids) != (generated.GRID,):
        raise ValueError(f"images of long documents have one resolution, {generated.GRID}: got grids {list(grids)}")
    chronicles = generated_long.Chronicles(world, long) if long else None
    kinds = _known(kinds)
    if any(not weights.get(kind, -1) >= 0 for kind in kinds) or not sum(weights[kind] for kind in kinds) > 0:
        raise ValueError(
            f"weights {weights}: each of the data types {', '.join(kinds)} needs one, and their sum must be positive"
        )
    share = {kind: weights[kind] / sum(weights[each] for each in kinds) for kind in kinds}
    context = long or contexts * world.context
    validation = max(1, LONG_VALIDATION // long) if long else VALIDATION_DOCUMENTS
    margin = 64 * context               # turns of the sources are whole sequences
    held_out = {kind: int(validation * (long or _length(world, kind))) for kind in kinds}
    needed = {kind: int(tokens * share[kind]) + margin + held_out[kind] for kind in kinds}
    documents = {
        kind: (kind, chronicles.documents(kind, needed[kind], seed) if chronicles else _documents(world, kind, needed[kind], seed))
        for kind in kinds
    }
    more, named = (), []
    if asks:
        more, named = generated_questions.WORDS, generated_questions.TOKEN_KINDS
    elif set(kinds) - set(TASKS):
        more = generated_audio.WORDS + generated_video.WORDS
        named = generated_audio.TOKEN_KINDS + generated_video.TOKEN_KINDS
    changed = {} if tuple(grids) == (generated.GRID,) else {"grids": list(grids)}
    if long:
        changed |= {"long": long, "long_version": LONG_VERSION}
    if contexts != 1:
        changed |= {"contexts": contexts}
    if asks:
        changed |= {"questions_version": QUESTIONS_VERSION}
    corpus = write_corpus(
        documents, out, Tokenizer(world.tokenizer(more)), context=context,
        image_size=[grid * generated.PATCH for grid in grids], patch=generated.PATCH, validation=validation,
        audio_dim=generated_audio.AUDIO_DIM if "audio" in kinds else 0,
        video_dim=generated_video.VIDEO_DIM if "video" in kinds else 0,
        identity=content_hash({"generated": VERSION, "seed": seed, "tokens": tokens, "weights": share, **changed}),
    )
    if not corpus.token_kinds:      # just written, or by a version that did not name them
        write_json(corpus.folder / "corpus.json", {**corpus.description, "token_kinds": generated.token_kinds() + named})
        corpus = store.open(corpus.folder)
    return corpus


def entropy(seed: int = 0, kinds: Sequence[str] = TASKS, long: int = 0) -> dict[str, float]:
    """The lowest possible loss of each data type of the generated corpus [nats per target token].

    Args:
        seed, kinds, long: as for `embedded_corpus`.
    Raises:
        ValueError: an unknown data type.
    """
    world = generated.World(seed)
    if long:
        floors = generated_long.Chronicles(world, long).entropy()
        return {kind: floors[generated_long.known(kind)] for kind in kinds}
    more = {"audio": generated_audio.Melodies(world), "video": generated_video.Films(world)}
    return {kind: more[kind].entropy() if kind in more else world.entropy()[kind] for kind in _known(kinds)}


def _known(kinds: Sequence[str]) -> list[str]:
    """The data types in their own order."""
    if not kinds or set(kinds) - {*GENERATED, "conversation"}:
        raise ValueError(
            f"the generated corpus has the data types {', '.join(GENERATED)}, and conversation: asked for {', '.join(kinds) or 'none'}"
        )
    return [kind for kind in (*GENERATED, "conversation") if kind in kinds]


def _documents(world: generated.World, kind: str, tokens: int, seed: int) -> Iterator[Document]:
    if kind == "audio":
        return generated_audio.Melodies(world).documents(tokens, seed)
    if kind == "video":
        return generated_video.Films(world).documents(tokens, seed)
    if kind == "conversation":
        return generated_questions.Questions(world).documents(tokens, seed)
    return world.documents(kind, tokens, seed)


def _length(world: generated.World, kind: str) -> float:
    """Tokens of a document on average."""
    more = {"audio": generated_audio.LENGTH, "video": generated_video.LENGTH, "conversation": generated_questions.LENGTH}
    return more[kind] if kind in more else world.length(kind)
