"""Trained weights as files of tensors and nothing else, and models that start from them (Sec. 3.3, App. B.7).

Files are safetensors: nothing is unpickled. Own ones carry the model's configuration. A decoder may also come from a
model in OpenLM's (DCLM's) or Llama's layout, in one file or several with an index; `nmm.models.io.layouts` has the
table of names.

A run starts from files whose hashes, or whose runs, its configuration names (`InitConfig`). What can start from what:

| part    | of                                          | from                                                   |
|---------|---------------------------------------------|--------------------------------------------------------|
| decoder | early and late fusion                       | own early or late fusion, images or not; OpenLM; Llama |
| decoder | mixture of experts                          | own mixture of experts of the same experts             |
| encoder | late fusion                                 | own late fusion; own contrast with captions            |
| encoder | late fusion with CLIP's encoder (late-clip) | own late-clip; CLIP as transformers writes it          |
| model   | any                                         | own, of the same configuration                         |

The decoder is the embeddings, the blocks and the last norm; the encoder is all under `vision`, its patch projection
too. Patch projections of early fusion and connectors start at random.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from nmm.architectures import MODELS, ModelConfig
from nmm.config import INPUTS, InitConfig
from nmm.config.run import RUN
from nmm.data.files import naming, whole
from nmm.models.io import clip_layout, layouts
from nmm.models.layers import NORM_EPS

PARTS = ("decoder", "encoder", "model")
_KEY = "nmm"                        # of the metadata that holds the configuration, and
_RUN = "run"                        # among its settings, the run that left the file
_NOT_DECODER = ("vision.", "connector.", *(f"{entry.projection}." for entry in INPUTS))
_SETTINGS = {                       # what must agree; what is missing on one side is not compared
    "decoder": ("d_model", "n_layers", "n_heads", "vocab_size", "d_hidden", "rope_base", "qk_norm", "n_experts",
                "top_k", "expert_hidden", "routing"),
    "encoder": ("d_vision", "n_vision_layers", "n_vision_heads", "patch_dim", "d_vision_hidden", "rope_base",
                "qk_norm", "image_patches"),
}
_OF_EVERY_MODEL = {"norm_eps": NORM_EPS}


def save(model: nn.Module, path: str | Path, config: ModelConfig, run: str = "") -> str:
    """Write a model's weights with its configuration; the file is there whole or not at all.

    Where the model is sharded over processes, all must call this; the first writes.

    Args:
        run: id of the run that trained them, so that others may start from it by name.
    Returns:
        The file's hash; "" on other processes.
    Raises:
        OSError: the file cannot be written.
    """
    tensors = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if not tensors:                 # not the first of several processes
        return ""
    path = Path(path)
    trained = {_RUN: run} if run else {}
    metadata = {_KEY: json.dumps({"arch": config.arch, **asdict(config), **trained})}      # one key: safetensors shuffles several
    with naming(path), whole(path) as partial:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, metadata)
    return file_hash(path)


def load(path: str | Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Configuration and tensors of a file that `save` wrote.

    Raises:
        ValueError: the file is another's, damaged, or no safetensors file.
        OSError: it cannot be read.
    """
    config, _, tensors = _own(path)
    return config, tensors


def run_of(path: str | Path) -> str:
    """The run that left a file; "" where the file does not say. Errors as for `load`."""
    return _own(path)[1]


def _own(path: str | Path) -> tuple[ModelConfig, str, dict[str, Tensor]]:
    """Configuration, run and tensors of a file that `save` wrote."""
    metadata, tensors = _read(_files(path))
    if _KEY not in metadata:
        raise ValueError(
            f"{path} was not written by nmm: it has no configuration. A decoder in another layout can start a "
            "model, but is none by itself"
        )
    try:
        plain = json.loads(metadata[_KEY])
        arch, run = plain.pop("arch", None), plain.pop(_RUN, "")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} has damaged metadata: its configuration is no JSON object; write it again") from error
    if arch not in MODELS:
        raise ValueError(f"{path} holds a model of unknown architecture {arch!r}: known are {', '.join(MODELS)}")
    try:
        return MODELS[arch](**plain), run, tensors
    except TypeError as error:
        raise ValueError(f"{path} was written by another version of nmm ({error}): use that version") from error


def file_hash(path: str | Path) -> str:
    """16 hex digits of the SHA-256 of a weights file; of several files, of their names and hashes.

    Raises:
        ValueError: it is no safetensors file or index, or a file of the index is missing.
        OSError: it cannot be read.
    """
    digests = []
    for file in _files(path):
        with file.open("rb") as stream:
            digests.append((file.name, hashlib.file_digest(stream, "sha256").hexdigest()))
    whole = digests[0][1] if len(digests) == 1 else hashlib.sha256(json.dumps(digests).encode()).hexdigest()
    return whole[:16]


def start(model: nn.Module, init: InitConfig, paths: dict[str, str | Path] | None = None) -> None:
    """Give a newly built model the weights that its run starts from.

    Args:
        model: as built; what is not in the files keeps its initial weights.
        init: hashes of the files, or the runs that left them, by part; empty: none.
        paths: the files by part, "decoder", "encoder" or "model".
    Raises:
        ValueError: a file is missing, is another one than the configuration names, or does not fit the model.
        OSError: a file cannot be read.
    """
    paths = paths or {}
    if unknown := sorted(set(paths) - set(PARTS)):
        raise ValueError(f"unknown part {unknown[0]!r} of the starting weights: known are {', '.join(PARTS)}")
    for part in PARTS:
        named, path = getattr(init, part), paths.get(part)
        if named and path is None:
            raise ValueError(f"the run starts from {part} weights {named}: give their file")
        if path is not None and named.startswith(RUN):
            if (left := run_of(path)) != (run := named.removeprefix(RUN)):
                raise ValueError(f"{path} was left by run {left or '(none is named in it)'}, but the run's configuration starts its "
                                 f"{part} from run {run}: give the file that run left, or train it again")
        elif path is not None and (found := file_hash(path)) != named:
            expected = f"the run's configuration names {named or f'no {part} weights'}"
            raise ValueError(
                f"{path} has the hash {found}, but {expected}: give that file, or set init.{part} to {found}"
            )
    initialise_from(model, **paths)


@torch.no_grad()
def initialise_from(
    new: nn.Module, /, *, decoder: str | Path | None = None, encoder: str | Path | None = None, model: str | Path | None = None,
) -> None:
    """Copy trained weights into parts of a model; the rest stays as it is. The module says what can start from what.

    Raises:
        ValueError: a file does not fit; all differences are listed, and the model is as it was.
        OSError: a file cannot be read.
    """
    state, found = new.state_dict(), {}
    for part, path in zip(PARTS, (decoder, encoder, model), strict=True):
        if path is None:
            continue
        settings, tensors = _part(part, path, new.config)
        misfits = [*_other_settings(part, settings, new.config),
                   *differences(tensors, {name: tensor for name, tensor in state.items() if _is_of(part, name)})]
        if misfits:
            raise ValueError(f"{path} does not fit the model's {part}:\n  " + "\n  ".join(misfits))
        found |= tensors
    for name, tensor in found.items():
        state[name].copy_(tensor)


def _is_of(part: str, name: str) -> bool:
    if part == "model":
        return True
    return name.startswith("vision.") if part == "encoder" else not name.startswith(_NOT_DECODER)


def _part(part: str, path: str | Path, model: ModelConfig) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Settings and tensors of one part of the model in a file, in our names."""
    if part == "encoder" and not model.encodes:
        raise ValueError(
            f"a model of arch {model.arch!r} has no encoder to start: take late fusion, or give a decoder alone"
        )
    files = _files(path)
    metadata, tensors = _read(files)
    if _KEY not in metadata:
        try:
            if part == "encoder" and clip_layout.is_clip(list(tensors)):
                if not hasattr(model, "image_patches"):
                    raise ValueError(layouts.CLIP_ENCODER)
                return clip_layout.convert(tensors, _settings_beside(files[0]))
            layout = layouts.layout_of(tensors)
            if part != "decoder":
                raise ValueError(f"it holds a decoder ({layout}); {part} weights come from a model of nmm")
            return layouts.convert(layout, tensors, layouts.traits(layout, _settings_beside(files[0])))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    config, _ = load(path)
    if part == "model":
        return {"arch": config.arch, **asdict(config)}, tensors
    if part == "encoder" and not config.encodes:
        raise ValueError(f"{path} is a model of arch {config.arch!r}, which has no encoder: give one of late fusion")
    settings = {name: getattr(config, name) for name in _SETTINGS[part] if hasattr(config, name)}
    return settings | {"arch": config.arch}, {name: tensor for name, tensor in tensors.items() if _is_of(part, name)}


def _settings_beside(file: Path) -> dict[str, Any]:
    path = file.parent / "config.json"
    if not path.is_file():
        raise ValueError(
            f"heads and the like are not in the tensors: put the model's config.json beside them, as {path}"
        )
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _other_settings(part: str, theirs: dict[str, Any], model: ModelConfig) -> Iterable[str]:
    if part == "model":
        ours = asdict(model)
    else:
        ours = {name: getattr(model, name) for name in _SETTINGS[part] if hasattr(model, name)} | _OF_EVERY_MODEL
    arch = theirs.pop("arch", "early")
    if part == "model" and arch != model.arch or part == "decoder" and MODELS[arch].routes != model.routes:
        yield f"arch: {arch} in the file, {model.arch} in the model"
    for name, value in theirs.items():
        if name in ours and value != ours[name]:
            hint = "; prepare the corpus with the tokenizer of these weights" if name == "vocab_size" else ""
            yield f"{name}: {value} in the file, {ours[name]} in the model{hint}"


def differences(theirs: dict[str, Tensor], ours: dict[str, Tensor]) -> list[str]:
    """What differs in names and shapes between a file's tensors and a model's, a line for all blocks together."""
    lines = [f"{_any_block(name)}: in the model alone" for name in ours if name not in theirs]
    lines += [f"{_any_block(name)}: in the file alone" for name in theirs if name not in ours]
    lines += [f"{_any_block(name)}: {tuple(tensor.shape)} in the file, {tuple(ours[name].shape)} in the model"
              for name, tensor in theirs.items() if name in ours and tensor.shape != ours[name].shape]
    return list(dict.fromkeys(lines))


def _any_block(name: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", name)


def _files(path: str | Path) -> list[Path]:
    """The safetensors files that a path stands for: one, the shards of an index, or what a folder holds."""
    path = Path(path)
    if path.is_dir():
        found = sorted(path.glob("*.safetensors.index.json")) or sorted(path.glob("*.safetensors"))
        if len(found) != 1:
            raise ValueError(f"{path} holds {len(found)} safetensors files without an index: give the file itself")
        path = found[0]
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: give a safetensors file, its index, or their folder")
    if path.name.endswith(".safetensors.index.json"):
        try:
            shards = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
            if not all(shard == Path(shard).name for shard in shards):
                raise ValueError("a name that leads out of its folder")
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
            raise ValueError(
                f"{path} is no index of safetensors files: it needs a weight_map from tensors to files beside it"
            ) from error
        files = [path.parent / shard for shard in shards]
        if missing := [file.name for file in files if not file.is_file()]:
            raise ValueError(
                f"{path} names {', '.join(missing)}, which is not in {path.parent}: fetch all of the files"
            )
        return files
    if path.suffix != ".safetensors":
        raise ValueError(
            f"{path} is no .safetensors file: others are pickles, which can run any code when read; convert it with "
            "safetensors.torch.save_file"
        )
    return [path]


def _read(files: list[Path]) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors, memory-mapped."""
    metadata, tensors = {}, {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as opened:
                metadata |= opened.metadata() or {}
            tensors |= load_file(file)
        except SafetensorError as error:
            raise ValueError(f"{file} is damaged or no safetensors file ({error}): fetch or write it again") from error
    return metadata, tensors
