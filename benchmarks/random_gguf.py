#!/usr/bin/env python3
"""Writes an f16 GGUF of Llama-3.2-1B's shape with random weights: its speed is that of the real model.

  random_gguf.py OUT.gguf      needs the packages gguf and numpy
"""
import sys

import gguf
import numpy as np

LAYERS, HIDDEN, FFN, HEADS, KV_HEADS, HEAD_DIM, VOCAB = 16, 2048, 8192, 32, 8, 64, 128256

writer = gguf.GGUFWriter(sys.argv[1], "llama")
writer.add_block_count(LAYERS)
writer.add_context_length(8192)
writer.add_embedding_length(HIDDEN)
writer.add_feed_forward_length(FFN)
writer.add_head_count(HEADS)
writer.add_head_count_kv(KV_HEADS)
writer.add_rope_dimension_count(HEAD_DIM)
writer.add_rope_freq_base(500000.0)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_vocab_size(VOCAB)
writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)

# Byte-level BPE needs the 256 byte tokens; the rest of the vocabulary is filler.
printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
hidden_bytes = [b for b in range(256) if b not in printable]
byte_token = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(hidden_bytes)}
tokens = [byte_token[b] for b in range(256)] + ["ea"]
tokens += ["filler%d" % i for i in range(len(tokens), VOCAB - 2)] + ["<|begin|>", "<|end|>"]
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre("llama-bpe")
writer.add_token_list(tokens)
writer.add_token_types([gguf.TokenType.NORMAL] * (VOCAB - 2) + [gguf.TokenType.CONTROL] * 2)
writer.add_token_merges(["e a"])
writer.add_bos_token_id(VOCAB - 2)
writer.add_eos_token_id(VOCAB - 1)
writer.add_add_bos_token(False)

shapes = {"token_embd.weight": (VOCAB, HIDDEN), "output_norm.weight": (HIDDEN,)}
for layer in range(LAYERS):
    block = "blk.%d." % layer
    shapes |= {
        block + "attn_norm.weight": (HIDDEN,), block + "ffn_norm.weight": (HIDDEN,),
        block + "attn_q.weight": (HEADS * HEAD_DIM, HIDDEN), block + "attn_k.weight": (KV_HEADS * HEAD_DIM, HIDDEN),
        block + "attn_v.weight": (KV_HEADS * HEAD_DIM, HIDDEN), block + "attn_output.weight": (HIDDEN, HEADS * HEAD_DIM),
        block + "ffn_gate.weight": (FFN, HIDDEN), block + "ffn_up.weight": (FFN, HIDDEN), block + "ffn_down.weight": (HIDDEN, FFN)}
for name, shape in shapes.items():
    dtype = np.dtype(np.float32 if len(shape) == 1 else np.float16)
    writer.add_tensor_info(name, shape, dtype, int(np.prod(shape)) * dtype.itemsize)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_ti_data_to_file()
random = np.random.default_rng(1)
for shape in shapes.values():
    if len(shape) == 1:
        writer.write_tensor_data(np.ones(shape, np.float32))
    else:
        writer.write_tensor_data((random.standard_normal(shape, np.float32) * 0.02).astype(np.float16))
writer.close()
