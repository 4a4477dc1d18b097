"""Transformers that cannot be saved are refused with the reason and what to use instead."""

from typing import Any

import numpy as np
import pytest
from scoreline.pipeline.errors import BundleError
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import NMF, FactorAnalysis, KernelPCA
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - makes IterativeImputer importable
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.impute import IterativeImputer, KNNImputer
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import LabelEncoder, StandardScaler

from saving_steps import compiled

X = np.abs(np.random.default_rng(0).normal(size=(12, 2)))


@pytest.mark.parametrize(
    ("transformer", "message"),
    [
        (KNNImputer().fit(X), "KNNImputer cannot be saved: it compares .* use a SimpleImputer with add_indicator=True"),
        (
            make_pipeline(StandardScaler(), IterativeImputer(random_state=0)).fit(X),
            "IterativeImputer cannot be saved: it predicts missing values .* round by round; use a SimpleImputer",
        ),
        (
            make_union(KernelPCA(1, random_state=0)).fit(X),
            "KernelPCA cannot be saved: it compares .*; use PCA; supported are Standard",
        ),
        (
            ColumnTransformer([("n", NMF(1, random_state=0, max_iter=5000), [0, 1])]).fit(X),
            "NMF cannot be saved: it solves .*; use PCA or Truncated",
        ),
        (HashingVectorizer(), "HashingVectorizer cannot be saved: it hashes words .* a TokenSequence"),
        (LabelEncoder().fit(["a"]), "LabelEncoder cannot be saved: it is for labels; pass the labels to the task"),
        (
            FactorAnalysis(1, random_state=0).fit(X),
            "FactorAnalysis cannot be saved; supported are StandardScaler, .*FeatureUnion$",
        ),
    ],
)
def test_the_reason_and_what_to_use(transformer: Any, message: str) -> None:
    """Also inside Pipelines, ColumnTransformers and FeatureUnions."""
    with pytest.raises(BundleError, match=message):
        compiled(transformer, ["a", "b"])
