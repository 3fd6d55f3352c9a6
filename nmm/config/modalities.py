"""What a position of a sequence can hold, and which data types documents are of: each once, for data, models and
records.
"""

from dataclasses import dataclass

TASKS = ("caption", "interleaved", "text")  # the data types of the study; L is the mean of their losses
GENERATED = (*TASKS, "audio", "video")      # those of the generated corpus of the study
# all data types; "image": images alone, which only a model that predicts them learns from; "conversation": what is asked about an image
KINDS = (*GENERATED, "image", "conversation")


@dataclass(frozen=True)
class Modality:
    """One modality. Besides text, how its positions enter a model: vectors of some width, through one linear layer."""

    name: str               # in records, tables and the names of storage formats
    number: int             # of its positions in `batch["modality"]`; its colour's place in the palette of all charts
    words: str              # many of it, in sentences
    width: str = ""  # numbers at one position: the field of a model, a corpus and its geometry; 0 there: none of it
    tensor: str = ""        # name of its vectors in a batch
    projection: str = ""    # name of the layer


MODALITIES = {modality.name: modality for modality in (     # in the order of legends
    Modality("text", 0, "text"),
    Modality("image", 1, "images", "patch_dim", "patches", "patch_projection"),
    Modality("audio", 2, "audio", "audio_dim", "audio", "audio_projection"),
    Modality("video", 3, "video", "video_dim", "video", "video_projection"),
)}
INPUTS = tuple(modality for modality in MODALITIES.values() if modality.width)     # all but text
