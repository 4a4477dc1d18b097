"""The rooms of the pipeline, from the ground up.

    storage, parquet                              files on disk, and Parquet files of any origin
    bundle, features, graph, inputs, outputs      data structures and file formats; none of them imports another
    model, tasks                                  networks on a device; raw outputs → columns
    planning, scoring                             what is left to score; the sequence of stages
    running, saving                               a job from start to end; a model becomes a bundle
    evaluation, examples                          metrics of outputs and bundles; the networks of the demo

A room imports from the floors below it and from the modules beside this file, which import none of them.
`docs/explanation/architecture.md` says where a new stage, task, input kind or file format goes.
"""
