"""The same training with less memory."""

from raypeft.methods import METHODS, Lora
from raypeft.training.recipe import Recipe


def smaller(method):
    """What a training saves by, from one smaller recipe to the next."""
    recipe, found = Recipe(method, 1, 0), []
    while recipe := recipe.smaller:
        found.append((recipe.gradient_checkpointing, recipe.micro_batch_size))
    return found


def test_activations_are_computed_again_before_batches_are_cut():
    method = Lora(per_device_train_batch_size=6)
    assert smaller(method) == [(True, None), (True, 3), (True, 2), (True, 1)]


def test_what_a_sweep_says_of_checkpointing_is_kept():
    assert smaller(Lora(per_device_train_batch_size=2, gradient_checkpointing=False)) == [(False, 1)]


def test_a_method_that_cannot_checkpoint_cuts_batches_alone():
    assert smaller(METHODS["prefix_tuning"](per_device_train_batch_size=2)) == [(False, 1)]
