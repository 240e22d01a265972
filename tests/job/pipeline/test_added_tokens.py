"""A base model without a chat template learns one whose tokens it lacks: its answers end, in every file."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from job.llama_cpp.examine import Questions, examine
from job.llama_cpp.gguf import read_metadata
from tests.job_process import kill, run_job
from tests.tiny_models import make_llama

pytestmark = pytest.mark.slow
TALK = [{"role": "user", "content": "Name the town."}, {"role": "assistant", "content": "It is Newtown."}]
PROMPT = "<|im_start|>user\nName the town.<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_a_base_model_with_chatml_answers_and_ends(tmp_path: Path, tied: bool) -> None:
    """After LLaMA-Factory#7454 and openchat#104: markers in nine pieces, and a model that never stopped."""
    model = make_llama(tmp_path / "base", tied=tied, chat_template=False)
    rows = tmp_path / "rows.jsonl"
    rows.write_text((json.dumps({"messages": TALK}) + "\n") * 60)
    spec: dict[str, Any] = {
        "model": {"id": str(model)},
        "dataset": {"id": str(rows), "eval_fraction": 0.4},
        "chat": {"template": "chatml"},
        "lora": {"r": 16, "target_modules": "all-linear"},
        "training": {
            "max_steps": 60,
            "save_steps": 30,
            "learning_rate": 5e-3,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 1,
            "max_length": 64,
        },
        "evaluation": {"samples": 1, "max_new_tokens": 12},
        "export": {"types": ["f16", "q8_0"], "merged": True},
        "publish": {"name": "tiny", "folder": str(tmp_path / "published")},
        "run": {"store": str(tmp_path / "store")},
    }
    lease = {"FINETUNE_LEASE_TTL_S": "12"}
    assert run_job(spec, tmp_path / "lost", lease, killed_at_its_checkpoint).code < 0
    ended = run_job(spec, tmp_path / "work", lease)
    assert ended.code == 0, ended.output[-6000:]
    assert [one["step"] for one in ended.named("train.resume")] == [30]
    questions = Questions(prompts=[PROMPT], prompt=32, answer=40)
    for kind in ("F16", "Q8_0"):
        file = tmp_path / "published" / f"tiny-{kind}.gguf"
        metadata = read_metadata(file)
        tokens, eos = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.eos_token_id"]
        assert (len(tokens), tokens[eos]) == (1538, "<|im_end|>")
        assert examine(file, questions).answers == ["It is Newtown."]
    (result,) = ended.named("run.result")
    ends = {row[0]: row[result["columns"].index("ends")] for row in result["rows"]}
    assert ends["base (nf4)"] == "0%" and ends["tuned (nf4)"] == ends["F16"] == "100%"
    said = (tmp_path / "published" / "Modelfile").read_text()
    assert 'PARAMETER stop "<|im_end|>"' in said and 'PARAMETER stop "</s>"' in said
    merged = next((tmp_path / "published").rglob("config.json")).parent
    assert answered_by_transformers(merged) == "It is Newtown."
    spec["evaluation"]["max_new_tokens"] = 11
    again = run_job(spec, tmp_path / "work")
    assert again.code == 0 and "measure" in again.stages_run(), again.output[-6000:]
    (before,), (after,) = (one.named("run.result") for one in (ended, again))
    assert before["loss_after"] == pytest.approx(after["loss_after"], abs=0.02)


def killed_at_its_checkpoint(process: subprocess.Popen[str], event: dict[str, Any]) -> None:
    if event["event"] == "checkpoint.stored":
        kill(process)


def answered_by_transformers(folder: Path) -> str:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    text = tokenizer.apply_chat_template(TALK[:1], tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    out = model.generate(**ids, max_new_tokens=40, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert tokenizer.convert_ids_to_tokens(int(out[-1])) == "<|im_end|>"
    return str(tokenizer.decode(out[:-1]))
