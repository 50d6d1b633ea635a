"""A file becomes a model with all its files, or nothing at all."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml

from modelyard.authoring.new import Created, Request, create
from modelyard.authoring.placing import Placing
from modelyard.authoring.sources import as_onnx
from modelyard.errors import ConfigurationError
from modelyard.importing.bounded import Limits
from modelyard.repository import load_model
from tests.integration import onnx_models
from tests.unit.test_services import folder_faults, graph_of, import_faults, service_folders


def bring(root: Path, model: onnx.ModelProto | Path, name: str = "my-model", **more: object) -> Created:
    source = model if isinstance(model, Path) else root.parent / f"{root.name}.onnx"
    if not isinstance(model, Path):
        onnx.save(model, source)
    return create(Request(name, source, root / "models", **more))  # type: ignore[arg-type]  # options of one test each


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


def test_a_model_comes_with_all_its_files(tmp_path: Path) -> None:
    root = tmp_path / "project"
    created = bring(root, onnx_models.two_inputs())
    assert files(root) == [
        "deploy/k8s/services/my-model/kustomization.yaml",
        "models/my-model/README.md",
        "models/my-model/model.yaml",
        "models/my-model/versions/1/golden.json",
        "models/my-model/versions/1/manifest.json",
        "models/my-model/versions/1/model.onnx",
        "services/my_model_service/__init__.py",
        "services/my_model_service/api.py",
        "services/my_model_service/service.py",
        "tests/integration/test_my_model_service.py",
    ]
    assert created.spec.service == "my_model_service.service:MyModel"
    assert load_model(root / "models", "my-model").spec == created.spec
    readme = (root / "models" / "my-model" / "README.md").read_text()
    assert "brought from `project.onnx`, sha256" in readme
    assert "rows are independent" in readme
    assert {path.name for path in (root / "models").iterdir()} == {"my-model"}


def test_the_service_keeps_the_rules_of_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    services = tmp_path / "p" / "services"
    bring(tmp_path / "p", onnx_models.two_inputs(), "planted-by-new")
    monkeypatch.syspath_prepend(services)
    assert service_folders(services) == ["planted_by_new_service"]
    assert folder_faults(services, "planted_by_new_service") == []
    assert import_faults(graph_of(["planted_by_new_service"]), "planted_by_new_service") == []


def test_protocol_only_has_no_service(tmp_path: Path) -> None:
    created = bring(tmp_path / "p", onnx_models.identity(), protocol_only=True)
    assert created.spec.service is None
    assert not (tmp_path / "p" / "services").exists()
    assert "typed" not in (tmp_path / "p" / "tests" / "integration" / "test_my_model_service.py").read_text()


def test_a_description_in_the_file_is_kept(tmp_path: Path) -> None:
    model = onnx_models.identity()
    model.doc_string = "Says what it hears."
    bring(tmp_path / "p", model)
    document = yaml.safe_load((tmp_path / "p" / "models" / "my-model" / "model.yaml").read_text())
    assert document["description"] == "Says what it hears."


@pytest.mark.parametrize(
    "there",
    [
        "models/my-model",
        "services/my_model_service",
        "tests/integration/test_my_model_service.py",
        "deploy/k8s/services/my-model",
    ],
)
def test_nothing_is_overwritten(tmp_path: Path, there: str) -> None:
    (tmp_path / "p" / there).mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="stands already"):
        bring(tmp_path / "p", onnx_models.identity())
    assert files(tmp_path / "p") == []


def test_names_that_become_one_package_do_not_mix(tmp_path: Path) -> None:
    bring(tmp_path / "p", onnx_models.identity(), "a-b")
    before = files(tmp_path / "p")
    with pytest.raises(ConfigurationError, match="stands already"):
        bring(tmp_path / "p", onnx_models.identity(), "A.b")
    assert files(tmp_path / "p") == before


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    root, source = tmp_path / "p", tmp_path / "source"
    for content, words in (
        (b"", "empty"),
        (b"nonsense", "none of the kinds"),
        (pickle.dumps([1]), "--trust"),
        (onnx_models.identity("BF16").SerializeToString(), "BF16"),
        (onnx_models.identity().SerializeToString()[:40], "ONNX"),
    ):
        source.write_bytes(content)
        with pytest.raises(ConfigurationError, match=words):
            bring(root, source)
        assert not root.exists()


def test_a_conversion_says_what_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    source = tmp_path / "source"
    source.write_bytes(pickle.dumps([1]))
    with pytest.raises(ConfigurationError, match=r"not installed here: sklearn, joblib, skl2onnx; pip install"):
        as_onnx(source, tmp_path, trust=True, limits=Limits())


@pytest.mark.parametrize("failing", ["tests", "services", "models"])
def test_when_a_part_cannot_be_placed_nothing_is_left(
    tmp_path: Path, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Placing.put

    def fail(self: Placing, source: Path, target: Path) -> None:
        if failing in target.parts[-3:]:
            raise KeyboardInterrupt
        put(self, source, target)

    monkeypatch.setattr(Placing, "put", fail)
    with pytest.raises(KeyboardInterrupt):
        bring(tmp_path / "p", onnx_models.identity())
    assert not (tmp_path / "p").exists()


def test_a_model_that_made_up_rows_are_wrong_for_takes_given_ones(tmp_path: Path) -> None:
    root = tmp_path / "p"
    model = onnx_models.gather_table(1)
    with pytest.raises(ConfigurationError, match=r"--rows FILE.npz .*index INT64 \[-1, 1\]"):
        bring(root, without_zero(model))
    assert not root.exists()
    np.savez(tmp_path / "rows.npz", index=np.array([[5], [6]]))
    created = bring(root, without_zero(model), rows=tmp_path / "rows.npz")
    assert created.imported.golden is not None
    assert created.imported.golden.inputs[0].array.tolist() == [[5], [6]]


def without_zero(model: onnx.ModelProto) -> onnx.ModelProto:
    """The table has rows for indices from 4 on: what is made up is outside."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    table = np.arange(20, dtype=np.float32).reshape(10, 2)
    changed.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(table, "table"))
    changed.graph.initializer.append(onnx.numpy_helper.from_array(np.array(14), "shift"))
    changed.graph.node[0].input[1] = "shifted"
    changed.graph.node.insert(0, onnx.helper.make_node("Sub", ["index", "shift"], ["shifted"]))
    return changed
