"""Why some transformers of scikit-learn cannot be saved, and what to use instead."""

_COMPLETE = "use a SimpleImputer with add_indicator=True, or impute upstream and score files without missing values"
_HASHES = "it hashes words instead of knowing them; use a CountVectorizer, or a TokenSequence with a vocabulary"
_SOLVES = "it solves an optimisation problem for each row, whose result depends on its solver; use PCA or TruncatedSVD"
_COMPARES = "it compares each row with rows of the training data, which a bundle does not contain"
_LABELS = "it is for labels; pass the labels to the task, and use an OrdinalEncoder or OneHotEncoder for features"

_REASONS = {
    "KNNImputer": f"{_COMPARES}; {_COMPLETE}",
    "IterativeImputer": f"it predicts missing values with regressors of their own, round by round; {_COMPLETE}",
    "KernelPCA": f"{_COMPARES}; use PCA",
    "Nystroem": f"{_COMPARES}; use a layer of the model",
    "NMF": _SOLVES,
    "MiniBatchNMF": _SOLVES,
    "LatentDirichletAllocation": _SOLVES,
    "DictionaryLearning": _SOLVES,
    "MiniBatchDictionaryLearning": _SOLVES,
    "SparsePCA": _SOLVES,
    "MiniBatchSparsePCA": _SOLVES,
    "HashingVectorizer": _HASHES,
    "LabelEncoder": _LABELS,
    "LabelBinarizer": _LABELS,
    "MultiLabelBinarizer": _LABELS,
}


def reason_for(kind: str) -> str:
    """The reason for a class of transformers, to follow "cannot be saved"; empty if there is none in particular."""
    return f": {_REASONS[kind]}" if kind in _REASONS else ""
