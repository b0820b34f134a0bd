"""What a model type tells before a model is loaded, held against what is found when it is."""

import json

import pytest
from small_models import make_small_model

from raypeft.cli.dry_run import print_plan
from raypeft.decoding.selfcheck import choose_path
from raypeft.models import kinds
from raypeft.models.loading import load_base
from raypeft.study.checking import load_config
from raypeft.study.plan import plan_trials
from raypeft.study.sweepfile import ConfigError
from scripts.model_classes import BEAMS, CLASSES, PAGE, make


def rows():
    """Class -> its cells in docs/models.md."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return {row[0]: row for row in cells}


def test_planning_says_of_the_tables_classes_what_the_table_says():
    for name, (_, path, _, _, *methods) in rows().items():
        config = {"model_type": name.split()[0]}
        assert kinds.is_slow(config) == (path.startswith(("plain", "alone")) and "[" in path), name
        if kinds.problem(config, "prefix_tuning", beams=False):
            assert methods[3].startswith("refused"), name
        assert (kinds.problem(config, "lora", beams=True) is not None) == path.startswith("refused"), name


@pytest.mark.parametrize(
    ("change", "fields", "message"),
    [
        ({"model_type": "bert"}, {}, "must be a causal language model or an encoder-decoder but is of the type bert"),
        ({"model_type": "xlnet"}, {}, "but is of the type xlnet, an encoder"),
        ({"use_bidirectional_attention": True}, {}, "config.json sets use_bidirectional_attention"),
        ({"model_type": "mamba"}, {"tuning_method": "prefix_tuning"}, "layers keep a state in place of keys"),
        ({"model_type": "falcon"}, {"tuning_method": "prefix_tuning"}, "have keys of a shape that PEFT does not make"),
        ({"model_type": "rwkv"}, {}, "num_beams must be 1 for models of the type rwkv"),
    ],
)
def test_a_dry_run_refuses_what_a_model_type_rules_out(tmp_path, small_model, change, fields, message):
    folder = tmp_path / "model"
    make_small_model("llama", folder)
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    sweep = tmp_path / "sweep.yaml"
    grid = {"tuning_method": "lora"} | fields
    sweep.write_text(json.dumps({"name": "s", "defaults": {"model": str(folder), "dataset": "toy"}, "grids": [grid]}))
    with pytest.raises(ConfigError) as error:
        plan_trials(load_config(sweep))
    assert message in str(error.value)


def test_an_encoder_is_refused_when_it_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setitem(CLASSES, "bert", {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4})
    folder = make("bert", tmp_path)
    with pytest.raises(ValueError, match="is of the type bert, an encoder, which writes no text"):
        load_base(folder)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"is_decoder": True}))
    base = load_base(folder)
    assert choose_path(base.model, base.tokenizer, BEAMS)


def test_a_dry_run_says_which_models_are_decoded_slowly(tmp_path, small_model, capsys):
    folder = tmp_path / "model"
    make_small_model("llama", folder)
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "gpt_neo"}))
    sweep = tmp_path / "sweep.yaml"
    defaults = {"dataset": "toy", "tuning_method": "zero_shot"}
    grids = [{"model": ["toy", str(folder)]}]
    sweep.write_text(json.dumps({"name": "s", "defaults": defaults, "grids": grids}))
    print_plan(load_config(sweep))
    assert "decoded by generate of Transformers itself, which is slower: 1 trial;" in capsys.readouterr().out
