"""A table and a classifier of scikit-learn: rows of classes that it finds hard weigh more (CDB-W).

python examples/tabular/cdb_w.py
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from longtail import long_tail_counts
from longtail.integrations.sklearn import DifficultyWeightedClassifier


def main(rounds: int = 3) -> dict[str, float]:
    x, y = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.3, stratify=y, random_state=0)
    counts = long_tail_counts(120, 10, imbalance=30)
    kept = np.concatenate([np.flatnonzero(y == c)[:count] for c, count in enumerate(counts)])
    x, y = x[kept], y[kept]

    classifier = LogisticRegression(max_iter=2000)
    weighted = DifficultyWeightedClassifier(classifier, rounds=rounds)  # longtail
    scores = {}
    for name, model in (("plain", classifier), ("weighted", weighted)):
        fitted = make_pipeline(StandardScaler(), model).fit(x, y)
        scores[name] = float(balanced_accuracy_score(y_test, fitted.predict(x_test)))
    return scores


if __name__ == "__main__":
    print(main())
