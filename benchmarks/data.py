"""What data costs: batches against the training step, image decoding, and preparing a corpus.

    python benchmarks/data.py [--repeats 5] [--json out.json]

- loader: time to make a batch against a bare training step on it, in turn in this process on one thread, at widths of the
  laptop study; the figure is their ratio, median over the repeats.
- decode: 224 px training images (random crop, flip, normalise, patches) a second on one core, from JPEGs of several sizes.
- prepare: image-caption pairs a second, from tar to packed shards, on one core.

All times are CPU seconds of one thread, which other work on the machine disturbs least.
"""

import argparse
import io
import json
import statistics
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pillow
from torch.nn import functional as F

from nmm.architectures import EarlyFusionConfig
from nmm.data.batches.loader import IGNORE, train_batches
from nmm.data.batches.mixture import Mixture
from nmm.data.corpus.embedded import embedded_corpus
from nmm.data.corpus.prepare import prepare
from nmm.data.geometry import Geometry
from nmm.data.images import decode
from nmm.models import build
from nmm.studies import MIXTURE

WIDTHS = (16, 32, 96)
STEPS = 300


def loader_share(width: int, mixture: Mixture, repeats: int) -> dict[str, float]:
    """Milliseconds of a batch and of a step at one width, and the batch's share of the step."""
    corpus = mixture.corpus
    model = build(EarlyFusionConfig(d_model=width, n_layers=3, n_heads=width // 16, vocab_size=corpus.vocab_size,
                                    patch_dim=corpus.patch_dim, ffn_multiple=8, rope_base=100.0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    load, step, share = [], [], []
    for _ in range(repeats):
        loading = stepping = 0.0
        start = time.process_time()
        for batch in train_batches(mixture, batch_size=4, steps=STEPS):
            loaded = time.process_time()
            loading += loaded - start
            optimizer.zero_grad(set_to_none=True)
            logits = model(batch)
            F.cross_entropy(logits, batch["labels"][batch["labels"] != IGNORE]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            start = time.process_time()
            stepping += start - loaded
        load.append(loading / STEPS * 1e3)
        step.append(stepping / STEPS * 1e3)
        share.append(load[-1] / step[-1])
    return {"batch_ms": statistics.median(load), "step_ms": statistics.median(step), "share": statistics.median(share)}


def photograph(seed: int, width: int, height: int) -> bytes:
    """A JPEG with about as much detail as a photograph: noise whose power falls with its frequency."""
    random = np.random.default_rng(seed)
    noise = np.fft.rfft2(random.standard_normal((3, height, width)))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)) + 2 / (width + height)
    pixels = np.fft.irfft2(noise / frequency, s=(height, width))
    pixels = np.clip((pixels / pixels.std((1, 2), keepdims=True)) * 50 + 128, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Pillow.fromarray(pixels.transpose(1, 2, 0)).save(file, "JPEG", quality=90)
    return file.getvalue()


def decode_rate(width: int, height: int, repeats: int) -> float:
    """Training images of 224 px a second on one core, from JPEGs of one size."""
    images = [photograph(k, width, height) for k in range(16)]
    geometry, rates = Geometry(image_size=224, patch=14), []
    for repeat in range(repeats):
        start = time.process_time()
        decode(images, [256] * len(images), geometry, [(repeat, k) for k in range(len(images))])
        rates.append(len(images) / (time.process_time() - start))
    return statistics.median(rates)


def prepare_rate(folder: Path, pairs: int = 400) -> float:
    """Image-caption pairs a second from a tar of 256 px JPEGs to packed shards, on one core."""
    images = [photograph(k, 256, 256) for k in range(16)]
    with tarfile.open(folder / "0.tar", "w") as archive:
        for k in range(pairs):
            caption = f"picture {k} of noise, number {k % 16} of its kind".encode()
            for name, content in ((f"{k:06d}.jpg", images[k % 16]), (f"{k:06d}.txt", caption)):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    start = time.process_time()
    prepare([("caption", folder / "0.tar")], folder / "out", vocab_size=400, processes=1, progress=False)
    return pairs / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, dict] = {"loader": {}, "decode_per_second": {}}
    with tempfile.TemporaryDirectory() as folder:
        corpus = embedded_corpus(Path(folder) / "corpus", tokens=STEPS * 4 * 130, weights=MIXTURE)
        mixture = Mixture(corpus, MIXTURE, seed=0)
        for width in WIDTHS:
            row = result["loader"][width] = loader_share(width, mixture, args.repeats)
            print(f"d = {width:3d}: batch {row['batch_ms']:.3f} ms, step {row['step_ms']:.2f} ms, share {row['share']:.1%}")
        for size in ((256, 256), (512, 384), (1024, 768)):
            rate = result["decode_per_second"]["x".join(map(str, size))] = decode_rate(*size, args.repeats)
            print(f"JPEG {size[0]} x {size[1]} -> 224 px: {rate:.0f} images/s on one core")
        result["prepare_pairs_per_second"] = prepare_rate(Path(folder))
        print(f"prepare: {result['prepare_pairs_per_second']:.0f} pairs/s on one core")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
