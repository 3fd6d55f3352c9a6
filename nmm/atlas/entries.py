"""The public tables. One entry a table: add yours at the end; `readers.py` has what is not a plain table."""

from nmm.atlas import readers
from nmm.atlas.adapter import ALL, Adapter, Published

KEMPNER_FILE = "data/opt_params_data.csv of the repository (val_loss)"
GEMSTONES_FILE = "parameters_delta-4/approach_3_parameters_grid_search_0_cool_end.json of the repository"


def _kempner(E: float, A: float, B: float, alpha: float, beta: float) -> tuple[Published, ...]:
    return (Published({"E": E, "A": A, "B": B, "alpha": alpha, "beta": beta}, KEMPNER_FILE),)


ENTRIES = (
    Adapter(
        name="chinchilla",
        title="Chinchilla, as Epoch AI digitised it",
        short="Chinchilla",
        repository="epoch-research/analyzing-chinchilla",
        source="Hoffmann et al. 2022 (arXiv 2203.15556); Besiroglu et al. 2024 (arXiv 2404.10102)",
        files=("data/svg_extracted_data.csv", "chinchilla_figure_4.svg"),
        read=lambda paths: readers.chinchilla(paths[:1]),
        counted="all parameters",
        N="Model Size",
        L="loss",
        published={
            ALL: (
                Published(
                    {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}, "Hoffmann et al. 2022, Eq. 10"
                ),
                Published(
                    {"E": 1.81686, "A": 482.00572, "B": 2085.4342, "alpha": 0.34781, "beta": 0.36585},
                    "data_analysis.ipynb of the repository",
                ),
            )
        },
        note="points of a figure, without the five highest losses, as in the authors' analysis",
    ),
    Adapter(
        name="isoflops",
        title="Llama 3 (digitised) and Marin, isoFLOP runs",
        short="isoFLOPs",
        repository="Open-Athena/scaling-law-analysis",
        source="Dubey et al. 2024 (arXiv 2407.21783), Fig. 2; Marin 2026; curated by arXiv 2603.22339",
        files=("data/isoflops/transform/isoflops.csv",),
        read=readers.isoflops,
        counted="as in the sources",
        N="params",
        D="tokens",
        L="loss",
        by=("experiment",),
        labels={
            "llama_3__raw_loss": "Llama 3",
            "marin_202603__comma__llama_2": "Marin, Comma",
            "marin_202603__dclm__llama_2": "Marin, DCLM",
            "marin_202603__nemotron__llama_2": "Marin, Nemotron",
        },
        published={
            "llama_3__raw_loss": (
                Published(
                    {"a": 1 - 0.53}, "Dubey et al. 2024, Sec. 3.2.1: D* ~ C^0.53", "from parabolas, not from Eq. 1"
                ),
            )
        },
        note="without the runs that the curation marks as outliers; the unit of Llama 3's loss is that of the figure",
    ),
    Adapter(
        name="gemstones",
        title="Gemstones, cooled down",
        short="Gemstones",
        repository="mcleish7/gemstone-scaling-laws",
        source="McLeish et al. 2025 (arXiv 2502.06857)",
        files=("wandb_dfs/wandb_df_for_fitting_cool_end.jsonl",),
        read=readers.gemstones,
        counted="all parameters",
        N="params_active_precise",
        D="tokens",
        L="final_loss",
        cluster=("run_name",),
        counts={"without the embedding": "without_embedding"},
        published={
            ALL: (
                Published(
                    {"alpha": 0.2970133066, "beta": 0.6903991635}, GEMSTONES_FILE, "their Huber threshold is 1e-4"
                ),
            )
        },
        note="checkpoints of one run share its course: runs are the clusters; widths and depths vary besides N",
    ),
    Adapter(
        name="over-training",
        title="Over-training",
        short="Over-training",
        repository="mlfoundations/scaling",
        source="Gadre et al. 2024 (arXiv 2403.08540)",
        files=("exp_data/models/*.json",),
        read=readers.over_training,
        counted="all parameters",
        N="params",
        D="tokens",
        L="c4",
        by=("dataset",),
        labels={
            "c4_original": "Over-training, C4",
            "rpj": "Over-training, RedPajama",
            "rw_original": "Over-training, RefinedWeb",
        },
        counts={"without embeddings": "params_no_embed"},
        note="loss on C4 for each training set; the authors fit a law of another form, with one exponent",
    ),
    Adapter(
        name="ladder",
        title="OLMo ladder",
        short="OLMo ladder",
        repository="allenai/OLMo-ladder",
        source="Bhagia et al. 2024 (arXiv 2412.04403)",
        files=("src/scripts/paper/data/ladder-runs/*xC*.csv",),
        read=readers.ladder,
        counted="all parameters but the input embedding, from the tokens",
        note="loss on C4; the authors publish laws of tasks, not of this loss",
    ),
    Adapter(
        name="loss-to-loss",
        title="Loss to loss",
        short="Loss to loss",
        repository="KempnerInstitute/loss-to-loss-notebooks",
        source="Brandfonbrener et al. 2024 (arXiv 2411.12925)",
        files=("data/sweep.csv", "data/extrapolation.csv"),
        read=readers.kempner,
        counted="all parameters",
        N="params",
        D="tokens",
        L="val_loss",
        by=("data",),
        published={
            "smollm-corpus": _kempner(1.551505, 2439.833585, 6916.032588, 0.447699, 0.443643),
            "fineweb-edu-100b": _kempner(2.002191, 2517.506178, 7160.559683, 0.454019, 0.449472),
            "slimpajama-chunk1": _kempner(2.006850, 2048.353934, 6018.806527, 0.440916, 0.438491),
            "fineweb-100b": _kempner(2.147176, 1636.584344, 4198.638775, 0.426722, 0.421206),
            "proof-pile-2": _kempner(1.330042, 3770.757590, 3588.084090, 0.507127, 0.434939),
            "starcoder": _kempner(0.862588, 7753.623417, 4189.620600, 0.546824, 0.438653),
        },
        note="loss on the held-out part of each model's own corpus; one larger model a corpus is predicted, not fitted",
    ),
    Adapter(
        name="step-law",
        title="Step law, dense",
        short="Step law",
        repository="step-law/steplaw",
        source="Li et al. 2025 (arXiv 2503.04715)",
        files=("data/dense_lr_bs_loss.csv",),
        counted="all parameters but the embeddings",
        L="smooth loss",
        best=True,
        note="the best of some 120 rates and batch sizes at each N and D; smoothed training loss; no law published",
    ),
    Adapter(
        name="misfitting",
        title="(Mis)fitting",
        short="(Mis)fitting",
        repository="hadasah/scaling_laws",
        source="Li et al. 2025 (arXiv 2502.18969)",
        files=("data/scaling_results_last_ckpt_only.csv",),
        counted="all parameters",
        L="loss",
        best=True,
        counts={"without embeddings": "N_no_emb"},
        note="the best of three learning rates at each N and D",
    ),
    Adapter(
        name="data-constrained",
        title="Data-constrained, fresh data",
        short="Data-constrained",
        repository="huggingface/datablations",
        source="Muennighoff et al. 2023 (arXiv 2305.16264)",
        files=("utils/parametric_fit.ipynb",),
        read=readers.fresh,
        counted="as the authors give it",
        note="the runs that read no token twice, written in a notebook",
    ),
    Adapter(
        name="repetition",
        title="Data-constrained, all",
        short="Repetition",
        repository="huggingface/datablations",
        source="Muennighoff et al. 2023 (arXiv 2305.16264)",
        files=("utils/parametric_fit.ipynb",),
        read=readers.repetition,
        law="repetition",
        extra={"U": "U"},
        counted="as the authors give it",
        published={
            ALL: (
                Published(
                    {"R": 15.387756},
                    "utils/parametric_fit.ipynb of the repository, cell 29",
                    "with a second decay, of excess parameters",
                ),
                Published(
                    {"R": 2.9157212},
                    "utils/parametric_fit.ipynb of the repository, cell 42",
                    "without it, E, A, B, alpha and beta fixed: the law here",
                ),
            )
        },
        note="without the runs that the authors call outliers; repetition that harms is outside the law",
    ),
    Adapter(
        name="routing",
        title="Routing, dense models",
        short="Routing, dense",
        repository="google-deepmind/scaling_laws_for_routing",
        source="Clark et al. 2022 (arXiv 2202.01169)",
        files=("data/curves.csv.gz",),
        read=readers.routing,
        counted="those that a token passes",
        N="dense_parameter_count",
        L="loss_validation",
        note="all runs have one number of tokens: Eq. 1 cannot be known from them",
    ),
    Adapter(
        name="regmix",
        title="RegMix, 1M models",
        short="RegMix",
        repository="sail-sg/regmix",
        source="Liu et al. 2024 (arXiv 2407.01492)",
        files=("data/train_mixture_1m.csv", "data/train_pile_loss_1m.csv"),
        read=readers.mixtures,
        law="mixture",
        counted="as named by the authors",
        note="mixtures of 17 domains at one N and D; loss on Pile-CC",
    ),
    Adapter(
        name="nanochat",
        title="nanochat",
        short="nanochat",
        repository="karpathy/nanochat",
        source="Karpathy 2026, dev/LOG.md",
        files=("dev/LOG.md",),
        read=readers.nanochat,
        by=("counted",),
        labels={
            "all projections including lm_head and no embeddings": "nanochat, blocks and head",
            "all parameters, period": "nanochat, all",
            "only the projections inside the transformer": "nanochat, blocks",
        },
        law="optima",
        counted="three ways",
        published={
            "all projections including lm_head and no embeddings": (Published({"a": 0.54}, "dev/LOG.md"),),
            "all parameters, period": (Published({"a": 0.37}, "dev/LOG.md"),),
            "only the projections inside the transformer": (Published({"a": 0.70}, "dev/LOG.md"),),
        },
        note="runs are not published, four optima a counting are: a is the line through them",
    ),
)
