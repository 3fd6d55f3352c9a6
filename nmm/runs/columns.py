"""The columns of a table of runs: what each holds and in which unit."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column."""

    words: str                  # what it holds
    unit: str = ""              # empty for text, counts of things and ratios
    measured: bool = False      # a number that a run may lack


COLUMNS = {
    "run": Column("name of the run: a hash of its whole configuration"),
    "study": Column("preset that trained it"),
    "arm": Column("architecture with its settings, as charts name it"),
    "arch": Column("architecture: early, late, moe"),
    "size": Column("label of the model's size"),
    "mixture": Column("shares of captions, interleaved documents and text, by name"),
    "corpus": Column("hash of the corpus's content"),
    "design": Column('all settings but width, budget and seed, as JSON; "{}" where none is recorded'),
    "seed": Column("of weights and order of the data"),
    "cluster": Column("size, seed and a hash of the design: runs with one label branched off one trunk and share its luck"),
    "status": Column("finished, failed, corrupt or newer; a run that did not finish keeps its row"),
    "reason": Column("why it did not finish"),
    "N": Column("of the decoder in the laws: active, embeddings included, norms and patch projection left out", "parameters"),
    "N_v": Column("of the vision encoder, 0 without one", "parameters"),
    "n_active": Column("that a token meets", "parameters"),
    "n_total": Column("all of them, every expert included", "parameters"),
    "n_embedding": Column("input embedding", "parameters"),
    "n_unembedding": Column("output layer", "parameters"),
    "n_blocks": Column("attention and feed-forward of the decoder", "parameters"),
    "n_inactive": Column("of experts that a token does not meet", "parameters"),
    "n_vision": Column("blocks of the vision encoder", "parameters"),
    "n_patch": Column("projection of patches", "parameters"),
    "n_connector": Column("between encoder and decoder", "parameters"),
    "n_routers": Column("routers of experts", "parameters"),
    "n_norms": Column("normalisations", "parameters"),
    "d_model": Column("width of the decoder", "features"),
    "n_layers": Column("of the decoder"),
    "lr": Column("peak learning rate"),
    "batch_tokens": Column("a step", "tokens"),
    "max_epochs": Column("how often a data type may be read"),
    "d_vision": Column("width of the encoder, missing without one", "features", measured=True),
    "encoder_lr_scale": Column("the encoder's rate over the decoder's, missing without one", measured=True),
    "n_experts": Column("experts of a layer, missing without them", measured=True),
    "top_k": Column("experts that a token takes, missing without them", measured=True),
    "routing": Column("learned, or by modality; missing without experts"),
    "expert_lr_scale": Column("the experts' rate over the others', missing without them", measured=True),
    "budget": Column("asked for", "tokens"),
    "D": Column("trained on, padding left out", "tokens"),
    "D_text": Column("text among D", "tokens"),
    "D_image": Column("image patches among D", "tokens"),
    "D_audio": Column("audio frames among D", "tokens", measured=True),
    "D_video": Column("video tubelets among D", "tokens", measured=True),
    "D_v": Column("that pass an encoder", "tokens", measured=True),
    "branched_at": Column("where the run left the trunk of a longer one, missing for a trunk", "tokens", measured=True),
    "C": Column("6 (N D + N_v D_v)", "FLOPs", measured=True),
    "C_exact": Column("every matrix product of the training", "FLOPs", measured=True),
    "L": Column("mean of the three held-out losses", "nats per target token", measured=True),
    "L_caption": Column("held-out captions", "nats per target token", measured=True),
    "L_interleaved": Column("held-out interleaved documents", "nats per target token", measured=True),
    "L_text": Column("held-out text", "nats per target token", measured=True),
    "L_name": Column("names in held-out captions of the generated corpus", "nats per target token", measured=True),
    "colour_of_chance": Column("held-out loss on colours over that of a guess; missing where it was not measured", measured=True),
    "shape_of_chance": Column("the same of shapes", measured=True),
    "pattern_of_chance": Column("the same of patterns", measured=True),
    "E_true": Column("entropy of the generator, mean of the three; missing for real data", "nats per target token", measured=True),
    "E_caption": Column("that of captions", "nats per target token", measured=True),
    "E_interleaved": Column("that of interleaved documents", "nats per target token", measured=True),
    "E_text": Column("that of text", "nats per target token", measured=True),
    "wall_seconds": Column("training time", "s", measured=True),
    "own_seconds": Column("without what a branch shares with its trunk, by its share of the tokens", "s", measured=True),
    "tokens_per_second": Column("while training", "tokens/s", measured=True),
    "processes": Column("that trained it together"),
    "mfu": Column("model FLOPs utilisation, missing without a known peak", measured=True),
    "memory_bytes": Column("most memory held", "bytes", measured=True),
}
