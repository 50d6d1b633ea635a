"""Models made elsewhere, as files: each by a script of its own, in a process that the tests do not share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.integration.harness import clean_environment

TORCH = """
import sys, torch
from torch import nn

class Score(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, patient):
        return self.inner(patient)

class Two(nn.Module):
    def forward(self, left, right):
        return {"sum": left + right, "larger": left > right}

torch.manual_seed(0)
folder, batch = sys.argv[1], torch.export.Dim("batch")
example = (torch.randn(4, 10),)
free = torch.export.export(Score().eval(), example, dynamic_shapes=({0: batch},))
torch.export.save(free, f"{folder}/free.pt2")
torch.export.save(torch.export.export(Score().eval(), example), f"{folder}/fixed.pt2")
shapes = {"left": {0: batch}, "right": {0: batch}}
two = torch.export.export(Two(), (torch.randn(3, 2), torch.randn(3, 2)), dynamic_shapes=shapes)
torch.export.save(two, f"{folder}/two.pt2")
torch.save(Score().state_dict(), f"{folder}/weights.pt")
torch.save(nn.Linear(2, 2), f"{folder}/module.pt")
"""

SKLEARN = """
import pickle, sys
import joblib, numpy as np
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

folder = sys.argv[1]
x, y = load_diabetes(return_X_y=True)
model = GradientBoostingRegressor(n_estimators=20, random_state=0).fit(x, y)
pickle.dump(model, open(f"{folder}/boosting.pkl", "wb"))
np.savez(f"{folder}/diabetes.npz", x=x[:5], y=model.predict(x[:5].astype(np.float32)))
x, y = load_iris(return_X_y=True)
names = np.array(["setosa", "versicolor", "virginica"])[y]
pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, names)
joblib.dump(pipeline, f"{folder}/pipeline.joblib", compress=3)
joblib.dump(HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(x, y), f"{folder}/histogram.joblib")
texts, good = ["good film", "bad film", "very good", "very good film"] * 5, [1, 0, 1, 1] * 5
pickle.dump(make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, good), open(f"{folder}/text.pkl", "wb"))
pickle.dump(LogisticRegression(), open(f"{folder}/unfitted.pkl", "wb"))
pickle.dump({"weights": x}, open(f"{folder}/dict.pkl", "wb"))
"""


def make(script: str, folder: Path) -> Path:
    """Run the script; `folder` then holds its files."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        env=clean_environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder
