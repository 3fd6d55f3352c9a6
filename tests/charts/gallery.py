"""One of every chart that there is, of the committed runs where it draws runs; the tests of what all charts share walk through it."""

import functools
import importlib
import inspect
import pkgutil
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd

from nmm import charts, laws, runs
from nmm.charts import (
    ablations,
    answers,
    architectures,
    auditing,
    compression,
    corpus,
    experts,
    fits,
    joint,
    mixing,
    mixtures,
    models,
    planning,
    positions,
    repetition,
    routing,
    starts,
    verdicts,
)
from nmm.charts import laws as law_charts
from nmm.charts import runs as run_charts
from nmm.claims import CLAIMS, CONFIRMED, REFUTED, UNRESOLVED, UNTESTED
from nmm.laws.use import paired, ranking
from nmm.laws.use.procedure import LEVEL_AT
from nmm.laws.use.published import published_law
from nmm.laws.use.which_mixture import simplex
from nmm.runs import collapse
from nmm.studies.presets import PAPER_EARLY

LAPTOP = Path(__file__).resolve().parents[2] / "runs" / "laptop"
METHODS = ["a method with a name as long as they come, of a paper", "another"]


def functions() -> dict[str, object]:
    """Name -> function, for all public functions of `nmm.charts` that draw a chart."""
    found = {}
    for module in pkgutil.iter_modules(charts.__path__, "nmm.charts."):
        for name, value in vars(importlib.import_module(module.name)).items():
            returned = inspect.signature(value).return_annotation if inspect.isfunction(value) and value.__module__ == module.name else None
            draws = inspect.isclass(returned) and issubclass(returned, alt.TopLevelMixin)
            if draws and not name.startswith("_") and module.name != "nmm.charts.parts":
                found[f"{module.name.rpartition('.')[2]}.{name}"] = value
    return found


@functools.cache
def samples() -> dict[str, alt.TopLevelMixin]:
    """Name -> chart, of every function of `functions`."""
    return {**_of_runs(), **_of_laws(), **_of_arms(), **_of_data(), **_of_positions(), **_of_shares(), **_of_compression(), **_of_starts(),
            **_of_mixtures()}


@functools.cache
def table() -> pd.DataFrame:
    """The finished runs of the laptop study."""
    done = runs.load(LAPTOP)
    return done[done["status"] == "finished"]


@functools.cache
def fitted():
    """Eq. 1 on those runs, and refits."""
    fit = laws.fit_parametric(table()["N"], table()["D"], table()["L"])
    return fit, fit.bootstrap(40, starts=1)


def _of_runs() -> dict[str, alt.TopLevelMixin]:
    done, (fit, boot) = table(), fitted()
    edge = pd.DataFrame({"C": run_charts.spread(done["C"].min(), done["C"].max(), margin=3)})
    frontier = laws.fit_frontier(done["C"], done["L"])
    floors = done[["E_caption", "E_interleaved", "E_text"]].rename(columns=lambda name: name.removeprefix("E_")).iloc[0].to_dict()
    beside = done.assign(predicted=fit.predicted, residual=fit.residuals)
    exponents = pd.DataFrame({"row": ["alpha", "beta"], "value": [0.3, 0.4], "low": [0.2, -np.inf], "high": [0.4, 0.5],
                              "source": ["here", "there"]})
    return {
        "runs.grid": run_charts.grid(done),
        "runs.training_curves": run_charts.training_curves(runs.curves(LAPTOP)),
        "runs.collapse": run_charts.collapse(collapse.normalised(runs.curves(LAPTOP), floor=0.5)),
        "fits.against_reader": fits.against_reader(done, pd.DataFrame({"D": [6e5, 5e6], "L": [0.3, 0.1]})),
        "runs.against_compute": run_charts.against_compute(done, edge.assign(L=frontier.predict(edge["C"]))),
        "runs.by_data_type": run_charts.by_data_type(done, floors),
        "runs.differences": run_charts.differences(done.assign(L_other=done["L"] * 1.01)),
        "runs.speed": run_charts.speed(done),
        "fits.observed_predicted": fits.observed_predicted(beside),
        "fits.residuals": fits.residuals(beside),
        "fits.isoflop": fits.isoflop(done, fit, np.geomspace(done["C"].min() * 2, done["C"].max() / 1.5, 5)),
        "fits.contour": fits.contour(done, fit),
        "fits.exponent_rows": fits.exponent_rows(exponents),
        "fits.optimal_allocation": fits.optimal_allocation(fit, boot, np.geomspace(done["C"].min(), done["C"].max() * 10, 12), done),
    }


def _of_laws() -> dict[str, alt.TopLevelMixin]:
    C = np.geomspace(1e19, 1e25, 30)
    grid = np.geomspace(0.125, 8, 25)
    methods = pd.DataFrame([{"quantity": name, "method": method, "value": 0.3, "low": 0.2, "high": 0.4}
                            for name in ("alpha", "beta") for method in ("profile", "basic")])
    anchors = pd.DataFrame([{"law": name, "free": name != "sparse", "largest": law.reach.C, **law.law.anchor(LEVEL_AT)}
                            for name in ("early", "sparse") for law in [published_law(name, 20.0, draws=1)]])
    best = pd.DataFrame([{"law": law, "C": budget, "L": 60 * budget**-0.06, "low": 59 * budget**-0.06, "high": 61 * budget**-0.06,
                          "inside": budget < 1e22}
                         for law in ("early", "sparse") for budget in C])
    audited = pd.DataFrame({"row": ["early", "late"], "where": "Table 2", "quantity": "a", "printed": [0.52, 0.64], "closed": [0.52, 0.54],
                            "procedure low": [0.5, 0.53], "procedure high": [0.55, 0.56], "verdict": ["closed form", "neither"]})
    open_split = pd.DataFrame([{"ratio": ratio, "quantity": name, "low": 0.5, "high": 0.6}
                               for name in ("a", "d") for ratio in (5.0, 20.0, 80.0)])
    lines = pd.concat(pd.DataFrame({"row": row, "C": C, "L": 20 * factor * C**-0.05}) for row, factor in (("mean", 1.0), ("text", 1.1)))
    return {
        "laws.ends_of_starts": law_charts.ends_of_starts(pd.DataFrame(
            [{"method": method, "rank": rank, "excess": 1e-9 * (1 + n)} for n, method in enumerate(METHODS) for rank in (0.5, 1.0)])),
        "laws.approach_2_miss": law_charts.approach_2_miss(pd.DataFrame(
            [{"surface": f"{name}: alpha = 0.34, beta = 0.28", "width": width, "ratio": 1 + 0.1 * width}
             for name in ("Chinchilla", "early fusion", "symmetric") for width in (2.0, 4.0, 8.0)])),
        "laws.bootstrap_cloud": law_charts.bootstrap_cloud(fitted()[1].samples, "alpha", "beta", fitted()[1].estimate),
        "laws.intervals_by_method": law_charts.intervals_by_method(methods, {"alpha": 0.31, "beta": 0.37}),
        "laws.frontiers": law_charts.frontiers(
            lines, pd.DataFrame({"row": ["mean", "text"], "L": [1.2, 1.3], "C": [1e24, 1e23]}), largest=1e22),
        "laws.isoloss": law_charts.isoloss(pd.DataFrame(
            [{"law": law, "N / N*": factor, "C ratio": 1 + np.log(factor) ** 2 / 4, "inside": factor < 2}
             for law in ("sparse", "ours") for factor in grid])),
        "laws.overtraining": law_charts.overtraining(pd.DataFrame(
            [{"tokens_used": used, "quantity": quantity, "ratio": used**power, "inside": used < 1e12}
             for quantity, power in (("N", -0.05), ("D", 0.05)) for used in np.geomspace(1e10, 1e15, 9)])),
        "planning.planner": planning.planner(anchors, (19.0, 26.0), 21.0, ratio=20.0),
        "planning.optimal_losses": planning.optimal_losses(best),
        "auditing.judged": auditing.judged(audited),
        "auditing.ceiling": auditing.ceiling(pd.DataFrame({"ceiling": [1e11, 1e12, 1e13], "a": [0.4, 0.36, 0.34]}), 0.361, 0.343, 6e11),
        "auditing.assumed": auditing.assumed(open_split, {"a": 0.55, "d": 0.56}, (8.0, 40.0)),
    }


def _of_arms() -> dict[str, alt.TopLevelMixin]:
    names = ["early fusion", "late fusion", "mixture 8-top-1", "experts by modality"]
    made = pd.DataFrame([
        {"arm": arm, "size": f"d{width}", "N": 1000 * width, "seed": seed, "budget": budget, "C": 6000.0 * width * budget,
         "L": (1 + 0.01 * seed + 0.05 * number) * budget**-0.1, "lr": 0.01 * width}
        for number, arm in enumerate(names) for width in (32, 48) for budget in (10_000, 20_000) for seed in range(3)
    ])
    found = paired.compare(made, names[2], names[0], {"mean": "L"})
    scores = pd.DataFrame([{"label": label, "layer": layer, "value": 0.2, "low": 0.1, "high": 0.3}
                           for label in ("caption", "text") for layer in (1, 2)])
    worth = pd.DataFrame([{"arm": arm, "way": way, "value": 0.8, "low": low, "high": 1.1}
                          for arm in names[1:] for way, low in (("observed", 0.6), ("by one law", -np.inf))])
    reach = pd.DataFrame([{"set": mixture, "reach": reach, "error": 1.0, "low": 0.3, "high": reach, "noise": 0.6, "runs": 9, "fits": 2,
                           "firm": reach < 5}
                          for mixture in ("45-45-10", "20-40-40") for reach in (1.5, 3.0, 6.0)])
    numbers = pd.DataFrame([{"experts": n, "size": size, "value": -n / scale, "low": -n / scale - 0.5, "high": high}
                            for size, scale, high in (("d32", 2.0, 1.0), ("d48", 4.0, np.inf)) for n in (2, 8, 16)])
    out = pd.DataFrame([{"form": form, "experts": n, "bias": off, "low": off - 0.2, "high": off + 0.2, "error": abs(off), "runs": 9}
                        for form, off in (("parameters count for more", 0.1), ("no effect of experts", -0.8)) for n in (1, 2, 8)])
    return {
        "experts.by_number": experts.by_number(numbers, numbers[["experts", "size", "value"]]),
        "experts.left_out": experts.left_out(out, 0.3),
        "joint.by_size": joint.by_size(made, made[made["seed"] == 0]),
        "joint.multipliers": joint.multipliers(worth, names[0]),
        "joint.exponents": joint.exponents(pd.DataFrame([
            {"quantity": quantity, "arm": arm, "value": 0.5 - null, "low": low, "high": 0.8 - null, "null": null and 0.0}
            for quantity, null in (("a", 0.0), ("a less early fusion", 0.4)) for arm, low in zip(names, (0.1, -np.inf, 0.2, 0.0))])),
        "joint.by_reach": joint.by_reach(reach),
        "architectures.losses": architectures.losses(made),
        "architectures.differences": architectures.differences(
            paired.by_cell(paired.at_equal_compute(made, names[1], names[0])), "loss, late against early [%]"),
        "architectures.intervals": architectures.intervals(found, "difference of loss [%]", names),
        "architectures.tuning": architectures.tuning(made),
        "verdicts.grid": verdicts.grid(pd.DataFrame([
            {"number": claim.number, "claim": claim.words, "verdict": words}
            for claim, words in zip(CLAIMS, (CONFIRMED, REFUTED, UNRESOLVED, UNTESTED) * 3)])),
        "routing.heat": routing.heat(routing.experts(np.array([[[90, 10], [40, 60], [10, 90]], [[50, 50], [100, 0], [0, 200]]]))),
        "routing.by_layer": routing.by_layer(scores, "score 1 - H"),
    }


def _of_data() -> dict[str, alt.TopLevelMixin]:
    unique = {share: {"caption": 4500 * share, "text": 100_000 * share} for share in (1.0, 0.5)}
    read = repetition.by_type(pd.DataFrame([
        {"share": share, "N": N, "D": budget, "budget": budget, "seed": 0, "L_caption": 4 - 0.1 * share, "L_text": 3.0}
        for share in unique for N in (1000, 4000) for budget in (10_000, 40_000)
    ]), unique, {"caption": 0.9, "text": 0.1})
    R = {"value": 9.0, "low": 2.0, "high": np.inf}
    strips = corpus.strips(np.array([0, 0, 0, 1, 1, -1]), np.array([0]), np.array([2]))
    tokens = pd.DataFrame({"text tokens": [100, 900], "image tokens": [320, 0]}, index=["captions", "web pages"])
    turned = pd.DataFrame([{"base": base, "pair": pair, "turns": 10.0 / pair} for base in ("1,000", "10,000") for pair in range(1, 5)])
    return {
        "models.stacked": models.stacked(models.group_shares({"275M": PAPER_EARLY["275M"].model}), "share of all parameters", "group"),
        "models.mask": models.mask(np.tril(np.ones((4, 4), bool)), list("abcd")),
        "models.turns": models.turns(turned),
        "corpus.patch_order": corpus.patch_order(np.zeros((16, 16, 3), np.uint8), 8, "column"),
        "corpus.packing": corpus.packing(pd.DataFrame([{"sequence": "caption 1", **strip} for strip in strips])),
        "corpus.tail": corpus.tail(
            pd.DataFrame({"rank": [1, 10], "p": [0.1, 0.01]}), "rank", "p", "rank of the kind", "probability of the kind"),
        "corpus.shares": corpus.shares(pd.DataFrame(
            {"kind": ["caption"] * 2, "modality": ["text", "image"], "share": [0.2, 0.3], "asked": 0.45})),
        "corpus.token_bars": corpus.token_bars(tokens),
        "corpus.compression": corpus.compression(pd.DataFrame(
            {"source": ["dfn", "web"], "bytes of": ["image, file", "text"], "value": [4.0, 192.0]})),
        "corpus.rejects": corpus.rejects(pd.DataFrame({"source": ["dfn"], "reason": ["empty caption"], "count": [3], "first": ["a"]})),
        "repetition.curves": repetition.curves(read[read["kind"] == "caption"]),
        "repetition.gaps": repetition.gaps(read),
        "repetition.worth": repetition.worth(repetition.worth_rows("caption", R, most=8.0)),
    }


def _of_positions() -> dict[str, alt.TopLevelMixin]:
    own = np.repeat(np.arange(4), 6)
    scores = np.sin(np.arange(96.0)).reshape(24, 4)
    by = pd.DataFrame([{"arm": arm, "bin": f"{first}-{first + 128}", "first": first, "end": first + 128, "L": 2 + times / (1 + first)}
                       for arm, times in (("full", 1.0), ("block-sparse", 1.2)) for first in (0, 128, 256)])
    ratio = by[by["arm"] == "full"].assign(value=0.01, low=[-0.01, 0.0, -np.inf], high=0.03)
    here = pd.DataFrame([{"arm": arm, "C": C, "L": 2.0 * (C / 1e12) ** c} for arm, c in (("full", -0.1), ("block-sparse", -0.09))
                         for C in (1e12, 1e13)])
    laws_here = pd.DataFrame({"arm": ["full", "block-sparse"], "K": [0.5, 0.5], "c": [-0.1, -0.09]})
    return {
        "positions.gate": positions.gate(scores, own, scores > 0.5),
        "positions.read": positions.read(np.tril(own[:, None] - own <= 1) & np.tril(np.ones((24, 24), bool)), own),
        "positions.by_position": positions.by_position(by, by[by["arm"] == "full"].assign(L=1.0)),
        "positions.by_distance": positions.by_distance(by),
        "positions.differences": positions.differences(ratio, "loss, block-sparse against full [%]"),
        "positions.beside_published": positions.beside_published(
            here, laws_here, {"full": (1.5, -0.1), "block-sparse": (1.6, -0.11)}, ["full", "block-sparse"], (0.1, 10.0)),
    }


def _of_shares() -> dict[str, alt.TopLevelMixin]:
    rho = np.linspace(0, 1, 9)
    lines = pd.concat([
        pd.DataFrame({"step": step, "N": N, "rho": rho, "what": what, "loss": 1 + (rho - 0.3) ** 2 + 1e4 / N, "best": 0.3})
        for step, N in enumerate((3e4, 6e4)) for what in (mixing.TEXT, mixing.IMAGE, mixing.TOTAL)], ignore_index=True)
    right = pd.DataFrame([
        {"way": way, "trait": trait, "budget": budget, "N": N, "mixture": "half", "seed": seed,
         "right": 0.2 + N / 2e5 + (budget + 1e6 * seed) / 1e7}
        for way in ("image of text", "text of image") for trait in ("place", "colour") for budget in (4e5, 8e5) for N in (3e4, 6e4)
        for seed in (0, 1)
    ])
    changed = pd.DataFrame({"what": ["a", "b"], "rho": [0.1, 0.2], "value": [-1.0, 2.0], "low": [-2.0, 1.0], "high": [0.5, 3.0]})
    best = pd.DataFrame({"source": "here", "N": [3e4, 6e4], "value": [0.3, 0.35], "low": [0.2, 0.3], "high": [0.4, 0.4]})
    return {
        "mixing.against_share": mixing.against_share(lines, lines[lines["what"] != mixing.TOTAL].drop(columns="best")),
        "mixing.best_shares": mixing.best_shares(pd.concat([best, mixing.lesson({1.25e8: 0.15, 6.7e9: 0.3})])),
        "mixing.changes": mixing.changes(changed),
        "mixing.written": mixing.written(right),
    }


def _of_compression() -> dict[str, alt.TopLevelMixin]:
    factors = pd.DataFrame([
        {"source": "a", "modality": modality, "tokenizer": tokenizer, "own": own, "raw": raw, "packed": raw / 5, "model": model}
        for modality, tokenizer, own, raw, model in (
            ("text", "own, 500", True, 4.0, 0.4), ("text", "bytes", False, 1.0, np.nan), ("audio", "2 frames", True, 512.0, 0.3))])
    bits = pd.DataFrame([
        {"modality": modality, "size": f"d{N:g}", "mixture": "four alike", "N": N, "own": own, "bits": scale * (1 + 1e3 / N + 1e4 / own)}
        for modality, scale in (("text", 0.5), ("audio", 0.005)) for N in (3e4, 2e5) for own in (1e5, 4e5)])
    floors = pd.DataFrame({"modality": ["text", "audio"], "bits": [0.5, 0.005]})
    held = pd.DataFrame({"form": ["one slope", "Eq. 1", "Eq. 1"], "held": ["the largest size", "the largest size", "most video"],
                         "observed": [0.1, 0.1, 0.2], "predicted": [0.12, 0.11, 0.2]})
    changes = pd.DataFrame({"modality": ["text", "audio"], "row": ["text: four alike", "audio: four alike"], "value": [1.0, -2.0],
                            "low": [-1.0, -np.inf], "high": [3.0, np.inf]})
    lines = pd.DataFrame({"level": [0.1, 0.1, 0.2, 0.2], "N": [3e4, 2e5, 3e4, 2e5], "D": [4e6, 1e6, 8e5, 3e5],
                          "inside": [False, True, True, True]})
    return {
        "compression.bits": compression.bits(bits, floors), "compression.changes": compression.changes(changes),
        "compression.factors": compression.factors(factors),
        "compression.isoloss": compression.isoloss(lines, pd.DataFrame({"N": [3e4, 2e5], "D": [1e6, 4e5]})),
        "compression.predictions": compression.predictions(held),
    }


def _of_starts() -> dict[str, alt.TopLevelMixin]:
    apart = pd.DataFrame([{"kind": kind, "at": at, "value": value, "low": value - 1, "high": value + 1}
                          for kind in ("captions", "text") for at, value in ((1e5, 3.0), (4e5, -2.0))])
    losses = pd.DataFrame([{"arm": arm, "kind": kind, "seed": seed, "budget": budget, "L": 2e2 / budget**0.4 + seed / 50}
                           for arm in ("early fusion", "from the decoder") for kind in ("captions", "text") for seed in (0, 1)
                           for budget in (1e5, 4e5, 8e5)])
    right = pd.DataFrame([{"sort": sort, "pairs": pairs, "value": 0.5, "low": 0.4, "high": 0.6 if pairs == "shown" else np.inf}
                          for sort in ("colour", "where") for pairs in ("shown", "withheld")])
    finetuned = pd.DataFrame([{"arm": arm, "size": "d44", "seed": seed, "L_before": 1 + seed / 10, "accuracy": 0.5 - seed / 20}
                              for arm in ("early fusion", "late fusion") for seed in range(4)])
    law = ranking.accuracy_law(finetuned, "L_before", "accuracy", 0.2, np.arange(8), n=20)
    return {
        "starts.against_tokens": starts.against_tokens(losses),
        "starts.gaps": starts.gaps(apart, "Early fusion from scratch, beside the one from the decoder"),
        "ablations.forest": ablations.forest(apart.assign(variation="twice the context"), "Late beside early fusion"),
        "answers.by_sort": answers.by_sort(right, pd.DataFrame([
            {"sort": "colour", "pairs": pairs, "looks": looks, "value": 0.06 + looks / 2} for pairs in ("shown", "withheld")
            for looks in (False, True)])),
        "answers.against_loss": answers.against_loss(finetuned, law),
    }


def _of_mixtures() -> dict[str, alt.TopLevelMixin]:
    shares = {"45-45-10": (0.45, 0.45, 0.1), "20-40-40": (0.2, 0.4, 0.4), "40-20-40": (0.4, 0.2, 0.4)}
    made = pd.DataFrame([
        {"mixture": name, "kind": kind, "share": h[place], "N": N, "budget": 600_000, "seed": 0, "percent": 10 * (0.3 - h[place]) + N / 1e5}
        for name, h in shares.items() for place, kind in enumerate(("captions", "text")) for N in (30_000, 60_000)])
    lost = pd.DataFrame([{"mixture": name, "loss": kind, "C": C, "L": (2 + number / 10) * (C / 1e11) ** -0.1}
                         for number, name in enumerate(shares) for kind in ("mean", "text") for C in (1e11, 1e12, 1e13)])
    points = simplex(0.1)
    trained = pd.DataFrame([{"mixture": name, "caption": h[0], "interleaved": h[1], "text": h[2]} for name, h in shares.items()])
    return {
        "mixtures.against_share": mixtures.against_share(made),
        "mixtures.apart": mixtures.apart(lost.assign(percent=100 * lost["L"]), lost.assign(percent=50 * lost["L"])),
        "mixtures.frontiers": mixtures.frontiers(lost, lost),
        "mixtures.triangle": mixtures.triangle(
            points, 10 * points[:, 0] ** 2, points[:, 0] < 0.5, trained, np.array([0.4, 0.3, 0.3]),
            np.array([[0.3, 0.4, 0.3], [0.4, 0.2, 0.4]])),
    }
