"""The way of the data:

discover → read → check → scale → transfer → forward → decode → write → publish

`inputs` finds partitions, reads them and checks their rows; `features` turns columns into tensors; `model`
holds the bundle and runs the forward pass; `tasks` turn raw outputs into named columns; `outputs` write them
where nobody sees them yet, and publish. `scoring/scorer.py` is the pure core between reading and writing; `running/run.py` is
one job from start to end and the only file that knows the order of the stages.
"""
