"""The model card of an exported trial."""

import ast
import json

import pytest
import yaml

from raypeft.trial.model_card import card, snippet

ASKED = {"prompt": "{nl}", "stop": ["\n"], "generate": {"num_beams": 2}, "is_encoder_decoder": False}
ROW = {"id": "0123456789", "model": "m", "dataset": "d", "tuning_method": "qlora_4bit", "em_at_1": 0.25,
       "em_at_1_low": 0.2, "em_at_1_high": 0.3, "test_examples": 100, "learning_rate": 3e-4,
       "num_shots": 0}  # fmt: skip


@pytest.mark.parametrize("base, told", [
    ({"source": "owner/name", "revision": "abc"}, "from_pretrained('owner/name', revision='abc')"),
    ({"source": "/models/m", "revision": None}, "from_pretrained('/models/m')"),
    ({"source": "/models/m/m.gguf", "revision": None}, "from_pretrained('/models/m', gguf_file='m.gguf')"),
])  # fmt: skip
@pytest.mark.parametrize("is_encoder_decoder", [False, True])
def test_the_snippet_is_a_program_that_loads_the_base_where_it_is(base, told, is_encoder_decoder) -> None:
    code = snippet({**ASKED, "is_encoder_decoder": is_encoder_decoder}, base, merged=False)
    ast.parse(code)
    assert told in code and ("Seq2SeqLM" in code) == is_encoder_decoder
    assert "PeftModel" not in snippet(ASKED, base, merged=True)


def test_a_merged_adapter_of_quantised_weights_says_so() -> None:
    base = {"source": "owner/name", "revision": None}
    assert "trained on quantised weights" in card(ROW, ASKED, base, merged=True)
    assert "trained on quantised weights" not in card(ROW, ASKED, base, merged=False)


def test_scores_have_their_intervals_and_examples() -> None:
    text = card(ROW, ASKED, {"source": "owner/name", "revision": None}, merged=False)
    assert "On 100 test examples." in text and "| EM@1 (%) | 25.0 | 20.0 to 30.0 |" in text


BASE: dict[str, str | None] = {"source": "owner/name", "revision": None}


def test_the_data_is_told_with_its_splits_its_limits_and_the_adapted_layers() -> None:
    told = {"declared": '{"path": "/home/me/d.jsonl", "prompt": "q", "answer": "a", "content": "sha256:12", '
                        '"sizes": {"train": 24, "validation": 3, "test": 3}}',
            "train_examples": 20, "limit": 20, "adapted_layers": ["q_proj", "v_proj"]}  # fmt: skip
    text = card(ROW | told, ASKED, BASE, merged=False)
    assert '| part: d | own data sha256:12; prompt: "q", answer: "a"; 24 train, 3 validation, 3 test |' in text
    assert "| train examples | 20 |" in text and "| limit | 20 |" in text and "test_limit" not in text
    assert "| target_modules | q_proj, v_proj |" in text
    assert "/home/me" not in text and "datasets:" not in text


def test_datasets_of_the_hub_are_metadata_also_those_of_a_mix() -> None:
    part = {"path": "hf://owner/data", "prompt": "q", "answer": "a"}
    mix = json.dumps({"mix": [{"name": "one", "declared": part}, {"name": "conala"}]})
    text = card(ROW | {"declared": mix}, ASKED, BASE, merged=False)
    assert yaml.safe_load(text.split("---")[1])["datasets"] == ["owner/data"]
    assert "| part: conala | a dataset of raypeft |" in text and "| part: one | hf://owner/data; prompt" in text
