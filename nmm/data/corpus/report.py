"""What is said of a prepared corpus, source by source, and when it is refused."""

from pathlib import Path

from nmm.data.corpus.packing import better_context
from nmm.data.corpus.shape import Shape
from nmm.data.corpus.store import SPLITS
from nmm.data.readers.rejects import FIRST, Rejects

MAX_WASTE = 0.05    # above this share of empty positions the report says what to change


def source_report(source: dict, shape: Shape, rejects: Rejects, lengths: list[int], unread: list[str]) -> dict:
    """The report of one source: counts of both splits together, waste and compression, and what was rejected.

    `lengths` are the positions of each document that is packed whole (captions), sorted; `unread` the names of files
    that were not read.
    """
    total = {count: sum(source[split][count] for split in SPLITS) for count in shape.counts}
    others = [modality for modality in shape.geometry.modalities[1:] if total[f"{modality}_spans"]]
    by_modality = {modality: total[f"{modality}_tokens"] for modality in ("text", "image", *others)}
    tokens, positions = sum(by_modality.values()), total["sequences"] * shape.context
    seen = total["documents"] + rejects.documents
    waste = 1 - tokens / positions if positions else None
    return {
        "kind": source["kind"], "documents": total["documents"], "images": total["images"],
        "sequences": total["sequences"],
        "tokens": {**by_modality, "total": tokens},
        "packing_waste": waste, "notes": _waste_notes(waste, lengths, shape.context),
        # Sun & Guo 2024: raw bytes that one token stands for. Images: RGB pixels as the model sees them, and as stored;
        # audio: 16-bit PCM samples; video: RGB pixels.
        "bytes_per_token": {
            "text": _ratio(total["text_bytes"], total["text_tokens"]),
            "image": _ratio(total["pixel_bytes"], total["image_tokens"]),
            "image_stored": _ratio(total["image_bytes"], total["image_tokens"]),
            **{modality: _ratio(total[f"{modality}_raw_bytes"], total[f"{modality}_tokens"]) for modality in others},
        },
        **{f"tokens_per_{modality}": _ratio(total[f"{modality}_tokens"], total[f"{modality}_spans"])
           for modality in others},
        "tokens_per_image": _ratio(total["image_tokens"], total["images"]),
        "validation_documents": source["validation"]["documents"],
        "validation_sequences": source["validation"]["sequences"],
        "files_not_read": {"count": len(unread), "first": unread[:FIRST]},
        "rejected": rejects.reasons,
        "rejected_share": {"documents": rejects.documents / seen if seen else 0.0,
                           "images": _ratio(rejects.images, total["images"] + rejects.images) or 0.0},
    }


def _waste_notes(waste: float | None, lengths: list[int], context: int) -> list[str]:
    if not lengths or waste <= MAX_WASTE:
        return []
    mean = sum(lengths) / len(lengths)
    note = (
        f"{waste:.1%} of the positions are empty: these documents are kept whole, and about {context // mean:.0f} of "
        f"{mean:.0f} positions fit into a context of {context}"
    )
    better = better_context(lengths, context, MAX_WASTE)
    return [note + (f"; a context of {better[0]} would waste {better[1]:.1%}" if better else "")]


def _ratio(amount: float, by: float) -> float | None:
    return amount / by if by else None


def accept(name: str, report: dict, out: Path, max_rejects: float) -> None:
    """Refuse a source of which too much was rejected, or that has a split without documents.

    Raises:
        ValueError: so it is; the reasons are listed.
    """
    reasons = ", ".join(
        f"{r['count']} x {reason}, the first in {r['first'][0]}" for reason, r in report["rejected"].items()
    )
    for what, share in report["rejected_share"].items():
        if share > max_rejects:
            raise ValueError(
                f"source {name!r}: {share:.1%} of its {what} were rejected, more than the {max_rejects:.1%} "
                f"allowed ({reasons}). See {out / 'report.json'}; mend the data or raise --max-rejects"
            )
    if not report["documents"]:
        raise ValueError(f"source {name!r} has no documents" + (f" left ({reasons})" if reasons else ""))
    held_out, all_of_them = report["validation_documents"], report["documents"]
    for split, left in (("validation", held_out), ("training", all_of_them - held_out)):
        if not left:
            raise ValueError(f"source {name!r} has no {split} documents among its {all_of_them}: it needs two good "
                             "documents that differ, one to hold out and one to train on")
