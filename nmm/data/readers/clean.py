"""One check for every real document, whatever format it came from: valid text, whole images, clips and films, nothing empty."""

from nmm.data import film, sound
from nmm.data.documents import MAX_TEXT, Document, Span, Text
from nmm.data.geometry import Geometry
from nmm.data.images import BadImage, check
from nmm.data.media import BadMedia
from nmm.data.readers.rejects import Rejects

MEDIA = {"audio": sound.check, "video": film.check}
PAIRS = ("caption", *MEDIA)     # documents of a text and one thing more, which must be good
SEPARATOR = "\n\n"  # between two texts that follow each other in a document


def clean(document: Document, kind: str, geometry: Geometry, max_images: int, rejects: Rejects) -> Document | None:
    """The document with images (clips, films) that decode and text that encodes, or None when it is rejected.

    The image of a caption or a conversation, a clip and a film must be good; an interleaved document stays without its bad images. Images
    beyond `max_images` are left out. Texts that follow each other are joined, so that tokens do not depend on how a reader cut them.
    """
    segments: list[Text | Span] = []
    images = 0
    if sum(len(segment.text) for segment in document.segments if isinstance(segment, Text)) > MAX_TEXT:
        rejects.add(f"text above {MAX_TEXT >> 20} MB", document.name)
        return None
    for segment in document.segments:
        if isinstance(segment, Text):
            text = segment.text.strip() if kind in PAIRS or kind == "conversation" else segment.text
            if not _is_unicode(text):
                rejects.add("text is not valid Unicode", document.name)
                return None
            if not text.strip() and not segment.turn:
                continue
            if segments and isinstance(segments[-1], Text) and not segments[-1].turn:
                text = segments.pop().text + SEPARATOR + text
            segments.append(Text(text, turn=segment.turn))
        elif kind in MEDIA:
            try:
                data, name, positions = MEDIA[kind](segment.data, geometry)
            except BadMedia as error:
                rejects.add(str(error), document.name)
                return None
            segments.append(Span(data, name, positions))
        elif images >= max_images:
            rejects.add(f"image beyond the cap of {max_images} in a document", document.name, "none")
        else:
            try:
                data, name, size = check(segment.data, geometry)
            except BadImage as error:
                if kind in ("caption", "conversation"):
                    rejects.add(str(error), document.name)
                    return None
                rejects.add(str(error), document.name, "images")
                continue
            segments.append(Span(data, name, geometry.patches(min(size))))
            images += 1
    if kind in PAIRS and not any(isinstance(segment, Text) for segment in segments):
        rejects.add("empty transcript" if kind == "audio" else "empty caption", document.name)
        return None
    if not segments:
        rejects.add("empty document", document.name)
        return None
    return Document(tuple(segments), document.name, document.digest())


def _is_unicode(text: str) -> bool:
    """False for lone surrogates, which no tokenizer takes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
