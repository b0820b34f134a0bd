"""The typed sweep: fields that are columns, and the options of the sandbox as it takes them."""

from raypeft.sandbox import Limits, SandboxSettings
from raypeft.study.config import trial_columns, trial_fields
from raypeft.study.options import SandboxOptions


def test_every_trial_field_is_a_described_column_of_its_own_type() -> None:
    columns = {column.name: column for column in trial_columns()}
    assert columns.keys() == {"tuning_method", "declared", "test_declared", *trial_fields()}
    assert all(column.description for column in columns.values())
    types = {
        "model": str,
        "tuning_method": str,
        "seed": int,
        "limit": int,
        "learning_rate": float,
        "lora_alpha": float,
        "optim": str,
        "prompt_form": str,
        "prompt_template": str,
        "target_modules": list[str],
    }
    assert {name: columns[name].kind for name in types} == types


def test_the_columns_that_tell_trials_apart_come_first() -> None:
    assert [column.name for column in trial_columns()][:4] == ["model", "dataset", "tuning_method", "seed"]


def test_the_sandboxs_options_are_its_settings_and_without_any_its_own_defaults() -> None:
    assert SandboxOptions().settings == SandboxSettings()
    options = SandboxOptions(
        tier="B", seconds_per_test=2, memory_mb=512, stop="first_fail", allow_unsafe_execution=True
    )
    assert options.settings == SandboxSettings(Limits(seconds_per_test=2, memory_mb=512), "B", "first_fail", True)
