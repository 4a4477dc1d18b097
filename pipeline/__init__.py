"""The rooms of the pipeline, from the ground up.

    storage, parquet                              where bytes are, and Parquet files of any origin
    bundle, features, graph, inputs, outputs      what things are; none of them imports another
    model, tasks                                  networks on a device; raw outputs → columns
    planning, scoring                             what remains to be done; the line of stages
    running, saving                               a job from start to end; a model becomes a bundle
    evaluation, examples                          judging outputs and bundles; the demo's networks

A room imports from the floors below it and from the modules beside this file, which import none of them.
`docs/architecture.md` says where a new stage, task, input kind or file format goes.
"""
