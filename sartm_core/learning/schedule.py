"""Learning-rate schedule: in every stage a warm-up, then polynomial decay with power 0.9."""

from collections.abc import Callable

from sartm_core.learning.recipe import Recipe

POWER = 0.9


def stage_factors(recipe: Recipe, steps: list[int]) -> Callable[[int], float]:
    """Returns a function: step of the run -> learning rate.

    The warm-up is exponential from `warm_up_ratio` of the rate (WarmupPolyLR in DELIVER's code).

    Args:
        recipe: rates, warm-up.
        steps: of each stage.
    """

    def rate(step: int) -> float:
        for stage, length in zip(recipe.stages, steps, strict=True):
            if step < length or stage is recipe.stages[-1]:
                warm_up = round(length * recipe.warm_up_share)
                if step < warm_up:
                    return stage.learning_rate * float(recipe.warm_up_ratio ** (1 - step / warm_up))
                done = min((step - warm_up) / max(length - warm_up, 1), 1.0)
                return stage.learning_rate * float((1 - done) ** POWER)
            step -= length
        raise AssertionError("a recipe has at least one stage")

    return rate
