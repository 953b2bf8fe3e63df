#!/usr/bin/env python3
"""Layers on several ranks, by -n, topology files, --pp and beside tensor parallelism, give the tokens of one rank;
what cannot be is refused by name."""
import json
import pathlib
import re
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import MODELS, has_mpi, json_lines, must_run
from tcp_jobs import expect, finish, multinode, ring, run_all, start

ENGINE = ("--cpu", "--cpu-math", "f32", "--threads", 1, "--start-timeout", 20)
PROMPT = ("--json", "--raw", "--ignore-eos", "--max-tokens", 16, "--temperature", 0, "--tokens", "5,6,7,300,9")

TOPOLOGIES = {
    "reversed": "0-2: {device: 'cuda[1]'}\n2-3: {device: 'cuda[0]'}\n",
    "alternating": "0: {device: 'cuda[1]'}\n2: {device: 'cuda[1]'}\n",
    "mlp elsewhere": "'/layers\\.[01]\\.mlp/': {device: 'cuda[1]'}\n",
    "head elsewhere": "'/lm_head|model\\.norm/': {device: 'cuda[1]'}\n",
    "three devices": "0-1: {device: 'cuda[2]'}\n1-2: {device: 'cuda[1]'}\n",
    "the CPU beside": "1-2: {device: cpu}\n",
}


def model(name):
    return MODELS / "hf" / name


def layers_of(name):
    return json.loads((model(name) / "config.json").read_text())["num_hidden_layers"]


def run(name, nodes, *arguments):
    return run_all(nodes, "run", "-m", model(name), *ENGINE, *PROMPT, *arguments)


def mpirun(name, ranks, *arguments):
    line = ("run", "-m", model(name), *ENGINE, *PROMPT, *arguments)
    return finish([start({}, *line, launcher=("mpirun", "-np", str(ranks)))])


def check_model(name, folder):
    layers = layers_of(name)
    expected = json.loads(run(name, [{}])[0][1])["tokens"]
    mapped = ("mode=layer-map", "tp=1 pp=2", "mapped by -n")
    for split in ("0:1;1:%d" % (layers - 1), "1:%d;0:1" % (layers - 1)):
        expect(expected, "%s -n %s" % (name, split), run(name, [{}], "-n", split), mapped)
    expect(expected, name + " --pp 2", run(name, [{}], "--pp", 2), ("mode=layer-map", "tp=1 pp=2"))
    expect(expected, name + " --tp 2 --pp 2", run(name, [{}], "--tp", 2, "--pp", 2), ("mode=hybrid", "tp=2 pp=2"))
    replicas = (("--dp", 2), "tp=1 pp=1 dp=2"), (("--tp", 2, "--dp", 2), "tp=2 pp=1 dp=2"), (
        ("--pp", 2, "--dp", 2), "tp=1 pp=2 dp=2")
    for options, sizes in replicas:
        expect(expected, "%s %s" % (name, options), run(name, [{}], *options), ("mode=hybrid", sizes))
    if has_mpi():
        for ranks, options in (2, ("--dp", 2)), (4, ("--dp", 2)), (4, ("--pp", 2, "--dp", 2)):
            expect(expected, "%s mpirun, %s of %d" % (name, options, ranks), mpirun(name, ranks, *options),
                   ("mode=hybrid", "dp=2"))
        expect(expected, name + " mpirun, -n", mpirun(name, 2, "-n", "0:1;1:%d" % (layers - 1)),
               ("mode=layer-map transport=mpi bootstrap=mpi",))
        expect(expected, name + " mpirun, --pp 2 of 4", mpirun(name, 4, "--pp", 2), ("mode=hybrid transport=mpi",))
        expect(expected, name + " mpirun, --mode layers", mpirun(name, 2, "--mode", "layers"),
               ("mode=layer-map", "pp=2", "automatic split"))
    expect(expected, name + " nodes, --pp 2", run(name, multinode(2, 1), "--pp", 2), ("bootstrap=multinode", "pp=2"))
    expect(expected, name + " nodes, --dp 2", run(name, multinode(2, 1), "--dp", 2), ("bootstrap=multinode", "dp=2"))
    expect(expected, name + " ring, --dp 2 of 4", run(name, ring(folder, 4), "--dp", 2), ("bootstrap=ring", "tp=2 pp=1 dp=2"))
    expect(expected, name + " ring, --pp 2 of 4", run(name, ring(folder, 4), "--pp", 2), ("bootstrap=ring", "tp=2 pp=2"))


def check_every_model(folder):
    """All small models in all formats: by layers, the CPU among the devices, from a topology file, by stages, and by stages
    of two ranks."""
    topology = pathlib.Path(folder, "topology.yaml")
    topology.write_text("'/layers\\.0\\.(mlp|block_sparse_moe)/': {device: 'cuda[1]'}\n'/lm_head|model\\.norm/': {device: cpu}\n")
    for path in (*sorted((MODELS / "hf").iterdir()), *sorted((MODELS / "gguf").glob("*/*.gguf"))):
        _, out, log = run(path, [{}])[0]
        expected, layers = json.loads(out)["tokens"], 1 + int(re.search(r"units=L0-?(\d*)", log)[1] or 0)
        uneven = ("--uneven-tp",) if "-9h-" in path.name else ()
        ways = [("--topology", topology)]
        if layers > 1:
            ways += [("-n", "0:%d;1:1" % (layers - 1)), ("-n", "cpu:1;0:%d" % (layers - 1)), ("--pp", 2),
                     ("--tp", 2, "--pp", 2, *uneven)]
        for options in ways:
            expect(expected, "%s %s" % (path.name, options), run(path, [{}], *options),
                   ("mode=hybrid" if "--tp" in options else "mode=layer-map",))


def check_uneven(name, ranks):
    expected = json.loads(run(name, [{}])[0][1])["tokens"]
    for count in ranks:
        results = run(name, [{}], "--tp", count, "--uneven-tp")
        expect(expected, "%s over %d ranks, uneven" % (name, count), results, ("mode=tensor-parallel", "tp=%d" % count))
        heads = [int(number) for number in re.findall(r" heads=(\d+) kv_heads=\d+ ffn=\d+", results[0][2])]
        assert len(heads) == count and sum(heads) == 9, results
    refused(3, ("--uneven-tp",), "--tp", ranks[0], model_name=name)


def check_left_out(name):
    """A device without room for a layer gets none, and needs none for what a step computes."""
    expected = json.loads(run(name, [{}])[0][1])["tokens"]
    for rank in 0, 1:
        results = mpirun(name, 2, "--mode", "layers", "--memory-limit", "%d=1MiB" % rank)
        expect(expected, "%s, no room on rank %d" % (name, rank), results, ("automatic split",))
        assert re.search(r"rank %d: \S+ \S+ units= weights=0MiB" % rank, results[0][2]), results


def scores(name, *arguments):
    """Of sequences that take several steps at once."""
    lines = "".join(json.dumps({"tokens": [(i * 37 + j * 11) % 500 for j in range(20 + i)]}) + "\n" for i in range(8))
    out = must_run(1, "score", "-m", model(name), *ENGINE, "--max-batch-tokens", 16, *arguments, stdin=lines)
    return [round(line["sum"], 3) for line in json_lines(out)]


def check_topologies(name, folder):
    assert layers_of(name) == 3, "the files are for three layers"
    expected, expected_scores = json.loads(run(name, [{}])[0][1])["tokens"], scores(name)
    for what, text in TOPOLOGIES.items():
        file = pathlib.Path(folder, "topology.yaml")
        file.write_text(text)
        results = run(name, [{}], "--topology", file)
        expect(expected, "topology, %s" % what, results, ("mode=layer-map",))
        assert scores(name, "--topology", file) == expected_scores, what
        assert "layer 2: cpu" in results[0][2], results
    file.write_text("'/mlp\\.down_proj/': {isq: 8}\n")
    code, out, err = run(name, [{}], "--topology", file)[0]
    assert code == 0 and "mode=single" in err and len(json.loads(out)["tokens"]) == 16, (code, out, err)


def check_quantised_stay(folder):
    """isq changes nothing of matrices that a file has quantised, and says so."""
    packed, file = MODELS / "quant/gptq-sym-g128", pathlib.Path(folder, "isq.yaml")
    file.write_text("/layers/: {isq: 4}\n")
    (_, out, plain), (_, same, log) = (run(packed, [{}], *options)[0] for options in ((), ("--topology", file)))
    assert json.loads(out)["tokens"] == json.loads(same)["tokens"], (out, same)
    assert "14 matrices stay as the files have quantised them" in log and "stay as" not in plain, (plain, log)
    held = [run(MODELS / "quant/fp8-moe", [{}], *options)[0][2] for options in ((), ("--quant", 4))]
    assert ["FP8 matrices are held as f16" in log for log in held] == [True, False], held


def refused(code, words, *arguments, nodes=({},), model_name="llama-4h"):
    results = run(model_name, list(nodes), *arguments)
    errors = "".join(err for _, _, err in results)
    assert results[0][0] == code and all(word in errors for word in words), (arguments, results)
    print("refused:", errors.strip().splitlines()[-1][:160], flush=True)


def check_refusals(folder):
    layers = layers_of("llama-4h")
    refused(3, ("--tp 2", "leave one out"), "-n", "0:1;1:%d" % (layers - 1), "--tp", 2)
    refused(3, ("--dp 2", "leave one out"), "-n", "0:%d" % layers, "--dp", 2)
    refused(3, ("--tp 1 x --pp 1 x --dp 3", "2 ranks were started"), "--tp", 1, "--dp", 3, nodes=multinode(2, 1))
    refused(2, ("--memory-limit 0=20GB", "whole GiB or MiB"), "--memory-limit", "0=20GB")
    refused(3, ("limits cuda:2", "cuda:0, cuda:1"), "--memory-limit", "2=1GiB", "--pp", 2)
    refused(5, ("rank 1 needs", "1MiB is free"), "--memory-limit", "1=1MiB", "--pp", 2)
    refused(3, ("--mode tensor",), "-n", "0:1;1:%d" % (layers - 1), "--mode", "tensor")
    refused(3, ("the model has %d layers" % layers,), "--pp", layers + 1)
    refused(3, ("devices of one machine", "--pp 2"), "-n", "0:%d" % layers, nodes=multinode(2, 1))
    refused(3, ("nothing.yaml",), "--topology", "nothing.yaml")
    if has_mpi():
        code, _, err = mpirun("llama-4h", 3, "--pp", 2)[0]
        assert code == 3 and "do not make 2 groups of one size" in err, (code, err)
        code, _, err = mpirun("llama-4h", 3, "-n", "0:1;1:%d" % (layers - 1))[0]
        assert code == 3 and "start 2" in err, (code, err)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        check_model("llama-4h", scratch)
        check_model("qwen3-sharded", scratch)
        check_topologies("qwen3-sharded", scratch)
        check_topologies("phi3", scratch)
        check_quantised_stay(scratch)
        check_every_model(scratch)
        check_uneven("llama-9h-tied", (2, 4))
        if has_mpi():
            check_left_out("gemma3")
        check_refusals(scratch)
