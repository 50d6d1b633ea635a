"""The other servers that the benchmark runs beside ours: each in an environment of its own, each the way it documents.

`catalog.py` names them, `recipe.py` starts and ends one, `check.py` compares their answers with ONNX Runtime in
process. A folder per environment holds `requirements.txt`, every package pinned, and `serve.py`, which runs there and
not here; `shared/bench_model.py` is the model that all of them load. Their common terms: one worker, one intra-op
thread, no access log, the loopback alone, and where a peer can batch, batches that wait at most 1 ms.
"""
