"""The learning-rate schedule of the study, as a pure function of tokens."""


def lr_factor(seen: float, step: float, *, total: float, warmup: float, cooldown: float) -> float:
    """Share of the peak learning rate for the step that begins after `seen` tokens.

    Linear warmup, constant, then `1 - sqrt(x)` over the last `cooldown` share of the budget, x running from 0 to 1
    in it (Haegele et al. 2024, Eq. 1). The warmup counts the step about to be made, so that no step has rate zero.

    Args:
        seen: tokens before this step; step: tokens of one step; total: budget; warmup: length [tokens].
        cooldown: share of `total`, between 0 and 1.
    Returns:
        A factor between 0 and 1.
    """
    rise = min(1.0, (seen + step) / warmup) if warmup else 1.0
    start = total * (1 - cooldown)
    if seen <= start:
        return rise
    return rise * max(0.0, 1 - ((seen - start) / (total - start)) ** 0.5)
