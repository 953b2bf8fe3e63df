"""Rounds weights as GPTQ, AWQ, compressed-tensors and FP8 checkpoints store them.

A tensor that is stored otherwise than as plain floats is a Stored: its dtype in a safetensors header,
its shape and bytes."""
import collections

import numpy as np

Stored = collections.namedtuple("Stored", "dtype shape bytes")

GROUP, BLOCK = 32, 128
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
CONFIGS = {
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False, "sym": False},
    "gptq-by-activation": {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": True, "sym": False,
                           "checkpoint_format": "gptq_v2"},
    "awq": {"quant_method": "awq", "bits": 4, "group_size": GROUP, "zero_point": True, "version": "gemm"},
    "compressed-tensors": {
        "quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"group_0": {
            "targets": ["Linear"], "weights": {"num_bits": 8, "type": "int", "strategy": "channel"}}}},
    "fp8": {"quant_method": "fp8", "weight_block_size": [BLOCK, BLOCK]},
}


def words(codes, bits, order=range(8)):
    """Packs the last axis into 32-bit words."""
    each = 32 // bits
    grouped = codes.astype(np.uint32).reshape(*codes.shape[:-1], -1, each)[..., list(order)[:each]]
    return np.bitwise_or.reduce(grouped << np.arange(0, 32, bits, dtype=np.uint32), axis=-1)


def stored(values, dtype):
    return Stored(dtype, values.shape, np.ascontiguousarray(values).tobytes())


def in_groups(weight, group_of, bits, offset):
    """codes [outputs, inputs], zeros and f16 scales [outputs, groups], and the values they stand for;
    zeros are at least `offset`."""
    groups, most = group_of.max() + 1, 2 ** bits - 1
    low = np.stack([weight[:, group_of == g].min(1) for g in range(groups)], 1)
    high = np.stack([weight[:, group_of == g].max(1) for g in range(groups)], 1)
    scales = (np.maximum(high - low, 1e-3) / most).astype(np.float16)
    wide = scales.astype(np.float32)
    zeros = np.clip(np.round(-low / wide), offset, most)
    codes = np.clip(np.round(weight / wide[:, group_of]) + zeros[:, group_of], 0, most)
    return codes, zeros, scales, (codes - zeros[:, group_of]) * wide[:, group_of]


def gptq(weight, draw, by_activation):
    group_of = np.arange(weight.shape[1]) // GROUP
    if by_activation:
        draw.shuffle(group_of)
    offset = 0 if by_activation else 1  # version 2, and 1
    codes, zeros, scales, values = in_groups(weight, group_of, 4, offset)
    return {"qweight": stored(words(codes, 4).T, "I32"), "qzeros": stored(words((zeros - offset).T, 4), "I32"),
            "scales": stored(scales.T, "F16"), "g_idx": stored(group_of.astype(np.int32), "I32")}, values


def awq(weight):
    codes, zeros, scales, values = in_groups(weight, np.arange(weight.shape[1]) // GROUP, 4, 0)
    return {"qweight": stored(words(codes.T, 4, AWQ_ORDER), "I32"), "qzeros": stored(words(zeros.T, 4, AWQ_ORDER), "I32"),
            "scales": stored(scales.T, "F16")}, values


def channels(weight):
    scales = np.maximum(np.abs(weight).max(1, keepdims=True), 1e-3) / 127
    codes = np.round(weight / scales)
    return {"weight_packed": stored(words(codes + 128, 8), "I32"), "weight_scale": stored(scales, "F32"),
            "weight_shape": stored(np.array(weight.shape, np.int64), "I64")}, codes * scales


def e4m3_values():
    """Of codes 0 to 126: they rise."""
    code = np.arange(127)
    exponent, fraction = code >> 3, code & 7
    return np.where(exponent == 0, fraction / 512, (8 + fraction) * 2.0 ** (exponent - 10)).astype(np.float32)


def fp8(weight):
    rows, columns = weight.shape
    scales = np.array([[max(np.abs(weight[i:i + BLOCK, j:j + BLOCK]).max(), 1e-3) / 448
                        for j in range(0, columns, BLOCK)] for i in range(0, rows, BLOCK)], np.float32)
    wide = scales.repeat(BLOCK, 0).repeat(BLOCK, 1)[:rows, :columns]
    table = e4m3_values()
    codes = np.searchsorted((table[1:] + table[:-1]) / 2, np.abs(weight) / wide)
    signs = weight < 0
    values = np.where(signs, -1, 1) * table[codes] * wide
    return {"weight": stored((codes | signs * 128).astype(np.uint8), "F8_E4M3"),
            "weight_scale_inv": stored(scales, "F32")}, values


def pack(method, tensors, draw):
    """The tensors with the linear layers of the blocks packed by `method` as far as it can, and with
    the values in f32 that they then have."""
    packed, plain = {}, {}
    for name, values in tensors.items():
        packed[name] = plain[name] = values
        if not name.endswith("_proj.weight"):
            continue
        outputs, inputs = values.shape
        module = name[:-len("weight")]
        if method == "fp8":
            parts, plain[name] = fp8(values)
        elif inputs % 8 or outputs % 8:
            continue  # stays plain
        elif method == "awq":
            parts, plain[name] = awq(values)
        elif method == "compressed-tensors":
            parts, plain[name] = channels(values)
        else:
            parts, plain[name] = gptq(values, draw, method == "gptq-by-activation")
        del packed[name]
        packed.update((module + part, content) for part, content in parts.items())
    return packed, {name: values.astype(np.float32) for name, values in plain.items()}
