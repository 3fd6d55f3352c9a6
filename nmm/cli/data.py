"""`python -m nmm data`: prepare a corpus from real files, look into one, measure what its tokens stand for, or make a small real set."""

import argparse
import html
from pathlib import Path

from nmm.cli.arguments import output, path
from nmm.data.corpus import store
from nmm.data.corpus.factors import factors
from nmm.data.corpus.prepare import parse_source, prepare
from nmm.data.corpus.show import report_table, samples_html
from nmm.data.corpus.system import said, write_system_examples


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions and their options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    make = actions.add_parser("prepare", help="read, check, tokenise and pack files into a corpus")
    make.add_argument("--source", action="append", required=True, metavar="KIND[:NAME]=PATH",
                      help="a file or folder; KIND is caption, interleaved, conversation, text, audio or video; repeat for more sources")
    make.add_argument("--out", required=True, type=path, help="the corpus folder; an unfinished one is gone on with")
    make.add_argument("--image-root", type=path, help="folder or tar of interleaved images (default: images beside the data)")
    make.add_argument("--context", type=int, default=1024, help="positions of a sequence [tokens]")
    make.add_argument("--image-size", type=_sizes, default=(224,), metavar="SIZE[,SIZE...]",
                      help="of several, an image gets the largest that is not above its short side [pixels]")
    make.add_argument("--patch", type=int, default=14, help="[pixels]")
    words = make.add_mutually_exclusive_group()
    words.add_argument("--vocab-size", type=int, help="of a byte-level BPE trained on the corpus (default 8192)")
    words.add_argument("--tokenizer", type=path, help="a tokenizer.json to use instead")
    make.add_argument("--validation", type=float, default=0.05, help="held-out share of documents, by content hash")
    make.add_argument("--max-images", type=int, default=30, help="images kept in a document")
    make.add_argument("--max-rejects", type=float, default=0.05, help="largest accepted share of bad samples")
    make.add_argument("--processes", type=int, help="default: one per core")
    make.add_argument("--store", choices=("arrow", "mds"), default="arrow",
                      help="arrow for local disks; mds for object storage (needs the extra `streaming`)")
    make.add_argument("--upload", metavar="URL", help="copy a finished mds corpus to s3://, gs:// or az://")
    show = actions.add_parser("show", help="print a corpus's report and draw samples")
    show.add_argument("out", help="the corpus folder, or its URL in object storage")
    show.add_argument("--samples", type=int, default=3, help="documents drawn of each source")
    show.add_argument("--html", type=output, help="file to draw them into (default: samples.html in the corpus folder)")


    measure = actions.add_parser("compression", help="bytes behind a token of each modality: raw, after zstd, and by trained models")
    measure.add_argument("out", help="the corpus folder, or its URL in object storage")
    measure.add_argument("--runs", type=path, help="folder of records of runs on this corpus: their lowest bits per byte are set beside")
    measure.add_argument("--chart", type=output, help="file for the chart (default: compression.png in the corpus folder)")


    system = actions.add_parser("system", help="a small real set of four modalities from packages of this system")
    system.add_argument("out", type=path, help="folder for it, with a subfolder for each data type")


def _sizes(text: str) -> tuple[int, ...]:
    """Image sizes, as in 112,224."""
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"image sizes are whole numbers with a comma between, as 112,224: got {text!r}") from None


def run(args: argparse.Namespace) -> int:
    """Prepare or show; returns the exit status."""
    if args.action == "prepare":
        sources = [(f"{kind}:{name}", path) for kind, name, path in map(parse_source, args.source)]
        report = prepare(sources, args.out, image_root=args.image_root, context=args.context, image_size=args.image_size,
                         patch=args.patch, vocab_size=args.vocab_size, tokenizer=args.tokenizer,
                         validation=args.validation, max_images=args.max_images, max_rejects=args.max_rejects,
                         processes=args.processes,
                         store_kind=args.store, upload=args.upload)
        print(report_table(report))
        return 0
    if args.action == "system":
        made = write_system_examples(args.out)
        print("\n".join([*said(), f"written to {args.out}; prepare it with", "python -m nmm data prepare --out CORPUS "
                         + " ".join(f"--source {kind}={folder}" for kind, folder in made)]))
        return 0
    if args.action == "compression":
        return _compression(args)
    if args.samples < 0:
        raise ValueError(f"--samples is a number of documents, at least 0: got {args.samples}")
    corpus = store.open(args.out)
    print(report_table(corpus.report))
    target = args.html or corpus.folder / "samples.html"
    page = f'<!doctype html><meta charset="utf-8"><title>{html.escape(Path(args.out).name)}</title>' + samples_html(corpus, args.samples)
    try:
        target.write_text(page, encoding="utf-8")
    except OSError as error:
        raise OSError(f"cannot draw samples into {target} ({error.strerror}): name another file with --html") from error
    print(f"samples drawn in {target}")
    return 0


def _compression(args: argparse.Namespace) -> int:
    """Measure, print the table and draw the chart; returns the exit status."""
    from nmm.charts import compression as draw  # they take a second to import, and the other actions need none
    from nmm.charts.theme import enable, png
    from nmm.runs import bits

    corpus = store.open(args.out)
    table = bits.beside(factors(corpus), bits.best(args.runs, corpus.hash) if args.runs else None)
    print(bits.written(table).to_string(index=False))
    target = args.chart or corpus.folder / "compression.png"
    enable()
    try:
        target.write_bytes(png(draw.factors(table).to_dict()))
    except OSError as error:
        raise OSError(f"cannot draw the chart into {target} ({error.strerror}): name another file with --chart") from error
    print(f"chart drawn in {target}")
    return 0
