#!/usr/bin/env python3
"""Mixtures of experts in GGUF files: a Hugging Face model is written as llama.cpp's converter would, with the
matrices of a layer's experts in one tensor, and held against the model's golden logits and texts.

  gguf_experts.py MODEL_DIR     a folder of tests/golden/models/hf with experts

Forms: F32, BF16, F32 with a tensor for each expert's matrix (as in files of before April 2024), and Q8_0 for the
experts, which must give what the same values give in safetensors. The layout is that of
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""
import json
import os
import pathlib
import struct
import sys
import tempfile

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import golden
from random_models import scored, write_model

ALIGNMENT = 32
F32, Q8_0, BF16 = 0, 8, 30
LAYER_PARTS = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
MODEL_PARTS = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
EXPERT_PARTS = {"mixtral": ("block_sparse_moe", "w1", "w3", "w2"),
                "qwen3_moe": ("mlp", "gate_proj", "up_proj", "down_proj")}


def read_bf16(path):
    """The tensors of a safetensors file of BF16, as f32."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    tensors = {}
    for name, entry in json.loads(data[8:8 + size]).items():
        if name == "__metadata__":
            continue
        assert entry["dtype"] == "BF16", name
        begin, end = entry["data_offsets"]
        halves = np.frombuffer(data[8 + size + begin:8 + size + end], "<u2")
        tensors[name] = (halves.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])
    return tensors


def interleaved(rows, heads):
    """Rows of heads in the order in which pairs (2i, 2i + 1) rotate."""
    return rows.reshape(heads, 2, -1, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def gguf_tensors(config, tensors):
    """GGUF's names and, for experts, one array [experts, rows, columns]."""
    block, gate, up, down = EXPERT_PARTS[config["model_type"]]
    result = {MODEL_PARTS[name[:-7]] + ".weight": values for name, values in tensors.items()
              if name[:-7] in MODEL_PARTS}
    for layer in range(config["num_hidden_layers"]):
        prefix = "model.layers.%d." % layer
        for part, own in LAYER_PARTS.items():
            values = tensors.get(prefix + part + ".weight")
            if values is None:
                continue
            if config["model_type"] == "mixtral" and own in ("attn_q", "attn_k"):
                values = interleaved(values, config["num_attention_heads" if own == "attn_q" else "num_key_value_heads"])
            result["blk.%d.%s.weight" % (layer, own)] = values
        result["blk.%d.ffn_gate_inp.weight" % layer] = tensors[prefix + block + ".gate.weight"]
        experts = config.get("num_local_experts") or config["num_experts"]
        for part, own in ((gate, "ffn_gate_exps"), (up, "ffn_up_exps"), (down, "ffn_down_exps")):
            result["blk.%d.%s.weight" % (layer, own)] = np.stack(
                [tensors["%s%s.experts.%d.%s.weight" % (prefix, block, e, part)] for e in range(experts)])
    return result


def apart(tensors):
    """The same with a tensor for each expert's matrix."""
    result = {}
    for name, values in tensors.items():
        if "_exps" in name:
            result.update((name.replace("_exps", ".%d" % e), matrix) for e, matrix in enumerate(values))
        else:
            result[name] = values
    return result


def metadata(config):
    """Keys of the architecture, as (type, value): 4 is an unsigned, 6 a float."""
    keys = {
        "embedding_length": (4, config["hidden_size"]), "block_count": (4, config["num_hidden_layers"]),
        "feed_forward_length": (4, config["intermediate_size"]),
        "attention.head_count": (4, config["num_attention_heads"]),
        "attention.head_count_kv": (4, config["num_key_value_heads"]),
        "context_length": (4, config["max_position_embeddings"]),
        "attention.layer_norm_rms_epsilon": (6, config["rms_norm_eps"]), "rope.freq_base": (6, config["rope_theta"]),
        "expert_used_count": (4, config["num_experts_per_tok"])}
    if config["model_type"] == "mixtral":
        return "llama", {**keys, "expert_count": (4, config["num_local_experts"])}
    return "qwen3moe", {**keys, "expert_count": (4, config["num_experts"]),
                        "expert_feed_forward_length": (4, config["moe_intermediate_size"]),
                        "attention.key_length": (4, config["head_dim"]),
                        "attention.value_length": (4, config["head_dim"])}


def quantised(values):
    """Blocks of Q8_0, and the values that they stand for."""
    blocks = values.reshape(-1, 32)
    scales = (np.abs(blocks).max(axis=1) / 127).astype(np.float16)
    units = scales.astype(np.float32)[:, None]
    codes = np.round(np.divide(blocks, units, out=np.zeros_like(blocks), where=units > 0)).clip(-127, 127)
    packed = b"".join(scale.tobytes() + code.astype(np.int8).tobytes() for scale, code in zip(scales, codes))
    return packed, (codes * units).astype(np.float32).reshape(values.shape)


def stored(name, values, form):
    """Number of the type, bytes, and the values that they stand for."""
    if form == "Q8_0" and "_exps" in name and values.shape[-1] % 32 == 0:
        return Q8_0, *quantised(values)
    if form != "BF16" or values.ndim == 1 or "gate_inp" in name:
        return F32, values.astype("<f4").tobytes(), values
    return BF16, (values.view(np.uint32) >> 16).astype("<u2").tobytes(), values


def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def write_gguf(path, config, tensors, form):
    """Writes the file; gives the values that its tensors stand for."""
    architecture, keys = metadata(config)
    values = text("general.architecture") + struct.pack("<I", 8) + text(architecture)
    for key, (kind, value) in keys.items():
        values += text(architecture + "." + key) + struct.pack("<I" + {4: "I", 6: "f"}[kind], kind, value)
    table, data, meant = b"", b"", {}
    arrays = gguf_tensors(config, tensors)
    for name, array in (apart(arrays) if form == "apart" else arrays).items():
        kind, content, meant[name] = stored(name, array, form)
        table += text(name) + struct.pack("<I", array.ndim)
        table += struct.pack("<%dQ" % array.ndim, *reversed(array.shape)) + struct.pack("<IQ", kind, len(data))
        data += content + b"\0" * (-len(content) % ALIGNMENT)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(meant), 1 + len(keys)) + values + table
    path.write_bytes(header + b"\0" * (-len(header) % ALIGNMENT) + data)
    return meant


def with_experts(config, tensors, meant):
    """The Hugging Face tensors, with the experts' values of a GGUF file."""
    block, gate, up, down = EXPERT_PARTS[config["model_type"]]
    result = dict(tensors)
    for layer in range(config["num_hidden_layers"]):
        for part, own in ((gate, "ffn_gate_exps"), (up, "ffn_up_exps"), (down, "ffn_down_exps")):
            for expert, values in enumerate(meant["blk.%d.%s.weight" % (layer, own)]):
                result["model.layers.%d.%s.experts.%d.%s.weight" % (layer, block, expert, part)] = values
    return result


def check_quantised(folder, config, tensors, prompts):
    """Q8_0 gives what its values give in safetensors of f32."""
    file, plain = folder / "Q8_0.gguf", folder / "plain"
    meant = write_gguf(file, config, tensors, "Q8_0")
    plain.mkdir()
    write_model(plain, {**config, "torch_dtype": "float32"}, with_experts(config, tensors, meant))
    lines = [prompt["ids"] for prompt in prompts]
    for ranks in (1, 2, 4):
        options = [*golden.device(ranks), "--tp", ranks]
        for expected, got in zip(scored(plain, golden.device(1), lines), scored(file, options, lines)):
            error = np.linalg.norm(got - expected) / np.linalg.norm(expected)
            assert error < 1e-4, "Q8_0, np=%d: logits off by %.2e of their norm" % (ranks, error)
    print("Q8_0 gives what its values give")


def main():
    directory = pathlib.Path(sys.argv[1])
    config = json.loads((directory / "config.json").read_text())
    expected = json.loads((directory / "golden.json").read_text())
    logits = golden.read_safetensors(directory / "golden.safetensors")
    tensors = read_bf16(directory / "model.safetensors")
    turned = golden.may_turn(config)
    limit = golden.tolerance(expected, turned)
    os.environ["DINFER_TOKENIZER"] = str(directory / "tokenizer.json")  # the files have none
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        for form in ("F32", "BF16", "apart"):
            file = folder / (form + ".gguf")
            write_gguf(file, config, tensors, form)
            for ranks in (1, 2, 4):
                error = golden.check_scores(ranks, file, golden.device(ranks), expected["prompts"], logits,
                                             limit, turned)
                golden.check_generation(ranks, file, expected["prompts"][1], turned)
                print("%s: np=%d agrees, logits off by at most %.1e" % (form, ranks, error))
        check_quantised(folder, config, tensors, expected["prompts"])


if __name__ == "__main__":
    main()
