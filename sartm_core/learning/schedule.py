"""Learning-rate schedule: in every stage a warm-up, then polynomial decay with power 0.9."""

from collections.abc import Callable

from sartm_core.learning.recipe import Recipe

POWER = 0.9


def stage_factors(recipe: Recipe, steps: list[int]) -> Callable[[int], float]:
    """Returns a function: step of the run -> learning rate.

    The warm-up goes from `warm_up_ratio` of the rate to the whole rate, `linear` or `exponential`, as WarmupPolyLR of
    jamycheung/DELIVER @4981c16 does; its configurations take `linear`.
    The decay begins behind it there; in mmcv's PolyLrUpdaterHook with the run, `decay_from: start`.

    Args:
        recipe: rates, warm-up.
        steps: of each stage.
    """

    def rate(step: int) -> float:
        for stage, length in zip(recipe.stages, steps, strict=True):
            if step < length or stage is recipe.stages[-1]:
                warm_up = round(length * recipe.warm_up_share)
                first = 0 if recipe.decay_from == "start" else warm_up
                done = min(max(step - first, 0) / max(length - first, 1), 1.0)
                risen = _warm_up(recipe, step / warm_up) if step < warm_up else 1.0
                return stage.learning_rate * risen * float((1 - done) ** POWER)
            step -= length
        raise AssertionError("a recipe has at least one stage")

    return rate


def _warm_up(recipe: Recipe, done: float) -> float:
    if recipe.warm_up == "linear":
        return recipe.warm_up_ratio + (1 - recipe.warm_up_ratio) * done
    return float(recipe.warm_up_ratio ** (1 - done))
