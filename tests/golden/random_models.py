#!/usr/bin/env python3
"""Models that nobody prepared: random shapes, features and weights, each on one CPU rank in f32 and
on other layouts, which must give the same logits and greedy tokens.

  random_models.py [--models N] [--seed S]

Layouts are all numbers of ranks up to 4 that fit, stages, and quantised weights; where dinfer sees
GPUs, GPU ranks as well. Each model also comes as a checkpoint of quantised weights, which must give
what the same values give as plain weights. A model that differs is named by its seed: --models 1 --seed S draws it again.
"""
import argparse
import json
import pathlib
import random
import shutil
import sys
import tempfile

import h5py
import numpy as np

import packed_weights

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import MODELS, must_run

TOKENIZER = MODELS / "hf/llama-4h"  # of 512 tokens
FAMILIES = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM",
            "qwen3": "Qwen3ForCausalLM", "phi3": "Phi3ForCausalLM", "gemma3_text": "Gemma3ForCausalLM",
            "mixtral": "MixtralForCausalLM", "qwen3_moe": "Qwen3MoeForCausalLM", "granite": "GraniteForCausalLM",
            "smollm3": "SmolLM3ForCausalLM"}
EXPERT_STEP = 4.0  # between the scores of a token's experts: rounding turns no choice
PROMPT_LENGTHS = (1, 7, 45, 150)
GREEDY_TOKENS = 12
REFERENCE = ["--cpu", "--cpu-math", "f32", "--threads", 1]
CPU_LIMIT, GPU_LIMIT = 2e-3, 3e-2  # of the norm of the logits
F16_LIMIT, F16_GAP = 5e-3, 0.05  # where weights may be rounded to f16
CPU_GAP, GPU_GAP = 0.02, 0.3  # greedy steps with a smaller gap between first and second may differ


def draw_config(seed):
    """config.json of a model of one to three layers. The families take turns."""
    family, draw = list(FAMILIES)[seed % len(FAMILIES)], random.Random(seed)
    kv_heads = draw.choice((1, 1, 2, 2, 3, 4))
    heads = kv_heads * draw.choice((1, 1, 2, 3, 4, 5, 7, 8))
    head_dim = draw.choice((16, 32, 40, 64, 64, 80, 96, 112, 128, 128, 160, 192, 256))
    free_width = family in ("llama", "mistral", "qwen3", "gemma3_text", "mixtral", "qwen3_moe")
    hidden = draw.choice((64, 72, 96, 130, 200, 256, 320, 514)) if free_width else heads * head_dim
    config = {
        "architectures": [FAMILIES[family]], "model_type": family, "hidden_act": "silu",
        "hidden_size": hidden, "intermediate_size": draw.choice((32, 88, 96, 160, 250, 384, 640)),
        "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "num_hidden_layers": draw.randint(1, 3), "vocab_size": draw.choice((512, 517, 640, 1000, 4099)),
        "max_position_embeddings": 512, "rms_norm_eps": draw.choice((1e-5, 1e-6)),
        "rope_theta": draw.choice((1e4, 5e5)), "tie_word_embeddings": draw.random() < 0.4,
        "bos_token_id": 506, "eos_token_id": 507, "pad_token_id": 511,
        "torch_dtype": draw.choice(("bfloat16", "float16", "float32"))}
    if free_width:
        config["head_dim"] = head_dim
    if family == "llama":
        config["attention_bias"] = draw.random() < 0.3
        config["mlp_bias"] = draw.random() < 0.3
        config["rope_scaling"] = draw.choice((None, None, {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64}, {"rope_type": "linear", "factor": 2.0}))
    if family == "gemma3_text":
        config.update(sliding_window=draw.choice((16, 33)), sliding_window_pattern=draw.choice((2, 3)),
                      query_pre_attn_scalar=draw.choice((24, head_dim)), rope_local_base_freq=draw.choice((1e3, 1e4)),
                      rope_scaling=draw.choice((None, {"rope_type": "linear", "factor": 8.0})))
    if family == "granite":
        config.update(embedding_multiplier=draw.choice((0.6, 12.0)), residual_multiplier=draw.choice((0.22, 0.55, 1.0)),
                      attention_multiplier=draw.choice((0.0625, 0.15)), logits_scaling=draw.choice((0.5, 8.0)))
    if family == "smollm3":
        config["no_rope_layers"] = [draw.randint(0, 1) for _ in range(config["num_hidden_layers"])]
    if family == "mistral":
        config["sliding_window"] = draw.choice((None, 16, 33, 100))
    if family in ("mixtral", "qwen3_moe"):
        draw_experts(config, draw)
    return config


def draw_experts(config, draw):
    experts = draw.choice((2, 4, 8, 13))
    config.update(num_experts_per_tok=draw.randint(1, min(experts, 4)), tie_word_embeddings=False)
    if config["model_type"] == "mixtral":
        config["num_local_experts"] = experts
        return
    config.update(num_experts=experts, moe_intermediate_size=draw.choice((24, 48, 80, 96, 200)),
                  norm_topk_prob=draw.random() < 0.5, decoder_sparse_step=draw.choice((1, 1, 2)),
                  mlp_only_layers=draw.choice(([], [], [0], [1])))


def expert_count(config):
    return config.get("num_local_experts") or config.get("num_experts") or 0


def has_experts(config, layer):
    if config["model_type"] == "mixtral":
        return True
    return (config["model_type"] == "qwen3_moe" and (layer + 1) % config["decoder_sparse_step"] == 0
            and layer not in config["mlp_only_layers"])


def draw_weights(config, draw):
    """The tensors of a checkpoint, as f32 [outputs, inputs]: products keep the size of their inputs,
    so that every layer counts in the logits."""
    width, ffn = config["hidden_size"], config["intermediate_size"]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim", width // heads)
    family = config["model_type"]
    gemma = family == "gemma3_text"  # whose norms are 1 + weight, and embeddings multiplied by the root of the width
    tensors = {}

    def normal(name, *shape, scale):
        tensors[name] = draw.normal(0, scale, shape).astype(np.float32)

    def linear(name, outputs, inputs, bias=False):
        normal(name + ".weight", outputs, inputs, scale=inputs ** -0.5)
        if bias:
            normal(name + ".bias", outputs, scale=0.2)

    def norm(name, size):
        tensors[name + ".weight"] = (draw.uniform(0.5, 1.5, size) - gemma).astype(np.float32)

    def mlp(prefix, columns, names=("gate_proj", "up_proj", "down_proj"), bias=False):
        gate, up, down = (prefix + name for name in names)
        linear(gate, columns, width, bias)
        linear(up, columns, width, bias)
        linear(down, width, columns, bias)

    def experts(prefix):
        """Scores are columns of the hidden state, where embeddings have each token's own order of experts."""
        block = prefix + ("block_sparse_moe." if family == "mixtral" else "mlp.")
        count = expert_count(config)
        tensors[block + "gate.weight"] = np.eye(count, width, dtype=np.float32)
        tensors[prefix + "post_attention_layernorm.weight"][:count] = 1
        for expert in range(count):
            own = "%sexperts.%d." % (block, expert)
            if family == "mixtral":
                mlp(own, ffn, ("w1", "w3", "w2"))
            else:
                mlp(own, config["moe_intermediate_size"])

    normal("model.embed_tokens.weight", config["vocab_size"], width, scale=1)
    count = expert_count(config)
    if count:
        orders = draw.permuted(np.tile(np.arange(count), (config["vocab_size"], 1)), axis=1)
        tensors["model.embed_tokens.weight"][:, :count] = EXPERT_STEP * (orders - (count - 1) / 2)
    for layer in range(config["num_hidden_layers"]):
        prefix = "model.layers.%d." % layer
        norm(prefix + "input_layernorm", width)
        norm(prefix + "post_attention_layernorm", width)
        if gemma:
            norm(prefix + "pre_feedforward_layernorm", width)
            norm(prefix + "post_feedforward_layernorm", width)
        attention, bias = prefix + "self_attn.", config.get("attention_bias", False)
        if family == "phi3":
            linear(attention + "qkv_proj", (heads + 2 * kv_heads) * head_dim, width)
            linear(prefix + "mlp.gate_up_proj", 2 * ffn, width)
            linear(prefix + "mlp.down_proj", width, ffn)
        else:
            for name, count in (("q_proj", heads), ("k_proj", kv_heads), ("v_proj", kv_heads)):
                linear(attention + name, count * head_dim, width, bias or family == "qwen2")
            if has_experts(config, layer):
                experts(prefix)
            else:
                mlp(prefix + "mlp.", ffn, bias=config.get("mlp_bias", False))
        linear(attention + "o_proj", width, heads * head_dim, bias)
        if family in ("qwen3", "qwen3_moe") or gemma:
            norm(attention + "q_norm", head_dim)
            norm(attention + "k_norm", head_dim)
    norm("model.norm", width)
    if not config["tie_word_embeddings"]:
        linear("lm_head", config["vocab_size"], width)
    if config["tie_word_embeddings"] or gemma:
        tensors["model.embed_tokens.weight"] *= 3 * width ** -0.5
    return tensors


def stored(values, dtype):
    """Bytes of f32 values as `dtype`; bf16 by cutting off."""
    if dtype == "bfloat16":
        return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return values.astype({"float16": np.float16, "float32": np.float32}[dtype]).tobytes()


def write_model(folder, config, tensors):
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / name, folder)
    dtype = config["torch_dtype"]
    header, data = {}, b""
    for name, values in tensors.items():
        if not isinstance(values, packed_weights.Stored):
            kind = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}[dtype]
            values = packed_weights.Stored(kind, values.shape, stored(values, dtype))
        header[name] = {"dtype": values.dtype, "shape": values.shape,
                        "data_offsets": [len(data), len(data) + len(values.bytes)]}
        data += values.bytes
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)


def scored(folder, options, lines):
    """Logits [tokens, vocabulary] of each line."""
    with tempfile.NamedTemporaryFile(suffix=".h5") as file:
        must_run(1, "score", "-m", folder, *options, "--logits", file.name,
                 stdin="".join(json.dumps({"tokens": line}) + "\n" for line in lines))
        with h5py.File(file.name) as h5:
            return [np.array(h5["%d/logits" % i]) for i in range(len(lines))]


def generated(folder, options, prompt):
    answer = must_run(1, "run", "-m", folder, *options, "--json", "--raw", "--temperature", 0, "--ignore-eos",
                      "--max-tokens", GREEDY_TOKENS, "--tokens", ",".join(map(str, prompt)))
    return json.loads(answer)["tokens"]


class Reference:
    """What one CPU rank gives in f32 with weights in one form: the options of that form and of the rank."""

    def __init__(self, folder, form, prompts):
        self.folder, self.form, self.prompts = folder, form, prompts
        self.logits = scored(folder, [*REFERENCE, *form], prompts)
        assert all(np.isfinite(logits).all() for logits in self.logits)
        self.tokens = generated(folder, [*REFERENCE, *form], prompts[2])
        steps = scored(folder, [*REFERENCE, *form], [prompts[2] + self.tokens])[0]
        last_two = np.sort(steps[len(prompts[2]) - 1:-1], axis=1)[:, -2:]
        self.gaps = last_two[:, 1] - last_two[:, 0]

    def compare(self, layout, limit, gap):
        """How far the logits of `layout` are off; fails beyond `limit` of their norm, or where a
        greedy token differs before the first gap under `gap`."""
        options = [*layout, *self.form]
        name = " ".join(map(str, options))
        worst = 0.0
        for prompt, expected, got in zip(self.prompts, self.logits, scored(self.folder, options, self.prompts)):
            assert got.shape == expected.shape, "%s: shape %s, not %s" % (name, got.shape, expected.shape)
            error = np.linalg.norm(got - expected) / np.linalg.norm(expected)
            assert error <= limit, "%s: logits of %d tokens off by %.2e of their norm" % (name, len(prompt), error)
            worst = max(worst, error)
        tokens = generated(self.folder, options, self.prompts[2])
        sure = next((i for i, found in enumerate(self.gaps) if found < gap), len(self.gaps))
        assert tokens[:sure] == self.tokens[:sure], "%s: %s, not %s" % (name, tokens[:sure], self.tokens[:sure])
        return worst


def cpu_layouts(config):
    """Other layouts of CPU ranks for the model."""
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    exact = ["--cpu", "--cpu-math", "f32", "--threads", 1]
    for ranks in (2, 3, 4):
        if heads % ranks == 0 and (kv_heads % ranks == 0 or ranks % kv_heads == 0):
            yield [*exact, "--tp", ranks]
    if kv_heads == 3:
        yield [*exact, "--tp", 2, "--uneven-tp"]
    if config["num_hidden_layers"] > 1:
        yield [*exact, "--tp", 1, "--pp", 2]


def check_packed(seed, config, tensors, prompts, numbers):
    """The model with weights packed in one of the formats, beside a plain one of the same values."""
    method = list(packed_weights.CONFIGS)[seed % len(packed_weights.CONFIGS)]
    packed, plain = packed_weights.pack(method, tensors, numbers)
    config = {**config, "torch_dtype": "float32"}
    with tempfile.TemporaryDirectory() as plain_folder, tempfile.TemporaryDirectory() as packed_folder:
        write_model(pathlib.Path(plain_folder), config, plain)
        write_model(pathlib.Path(packed_folder),
                    {**config, "quantization_config": packed_weights.CONFIGS[method]}, packed)
        reference = Reference(plain_folder, [], prompts)
        reference.folder = packed_folder
        layouts = [REFERENCE, *cpu_layouts(config), ["--cpu", "--threads", 2]]
        return max(reference.compare(layout, F16_LIMIT, F16_GAP) for layout in layouts)


def check_model(seed, gpus):
    config = draw_config(seed)
    numbers = np.random.default_rng(seed)
    prompts = [numbers.integers(0, 500, length).tolist() for length in PROMPT_LENGTHS]
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        tensors = draw_weights(config, numbers)
        write_model(folder, config, tensors)
        worst = {"cpu": 0.0, "gpu": 0.0}
        forms = [[], ["--quant", 8], ["--quant", 4]]
        for form in forms if gpus else [forms[0], forms[1 + seed % 2]]:
            reference = Reference(folder, form, prompts)
            for layout in cpu_layouts(config):
                worst["cpu"] = max(worst["cpu"], reference.compare(layout, CPU_LIMIT, CPU_GAP))
            worst["cpu"] = max(worst["cpu"], reference.compare(["--cpu", "--threads", 2], CPU_LIMIT, CPU_GAP))
            if gpus:
                worst["gpu"] = max(worst["gpu"], reference.compare(["--tp", 1], GPU_LIMIT, GPU_GAP))
    worst["cpu"] = max(worst["cpu"], check_packed(seed, config, tensors, prompts, numbers))
    return config, worst


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=int, default=len(FAMILIES))
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    gpus = len((json.loads(must_run(1, "--version", "--json"))["cuda"] or {}).get("gpus", []))
    failed = 0
    for seed in range(arguments.seed, arguments.seed + arguments.models):
        config = draw_config(seed)
        shape = "seed %d: %s, %d layers, %d wide, %d, %d and %s heads, %d experts, vocabulary %d" % (
            seed, config["model_type"], config["num_hidden_layers"], config["hidden_size"],
            config["num_attention_heads"], config["num_key_value_heads"], config.get("head_dim", "fitting"),
            expert_count(config), config["vocab_size"])
        try:
            _, worst = check_model(seed, gpus)
            print("%s: off by at most %.1e on CPUs%s" % (
                shape, worst["cpu"], ", %.1e on GPUs" % worst["gpu"] if gpus else ""))
        except AssertionError as error:
            failed += 1
            print("%s: FAILED\n%s\n%s" % (shape, error, json.dumps(config)))
    sys.exit("%d of %d models differ" % (failed, arguments.models) if failed else 0)


if __name__ == "__main__":
    main()
