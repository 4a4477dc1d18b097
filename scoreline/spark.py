"""Score Spark DataFrames with a bundle, in the executors.

    import scoreline.spark

    scored = scoreline.spark.score(df, "bundles/wine")

Needs pyspark, which Scoreline does not install. See docs/how-to/spark.md.
"""

from .pipeline.engines.spark import score, score_function

__all__ = ["score", "score_function"]
