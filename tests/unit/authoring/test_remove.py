"""A model goes with all its files and nothing else; what needs it, or is no plain file of the project, stops it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from modelyard.authoring.remove import parts_of, remove
from modelyard.errors import ConfigurationError


def plant(root: Path, name: str, **more: object) -> Path:
    """The files of a model as `new` leaves them. Returns the repository."""
    package = f"{name}_service"
    document = {"name": name, "service": f"{package}.service:X", **more}
    files = {
        f"models/{name}/model.yaml": yaml.safe_dump(document),
        f"models/{name}/versions/1/model.onnx": "12345",
        f"services/{package}/service.py": "",
        f"tests/integration/test_{package}.py": "",
        f"deploy/k8s/services/{name}/kustomization.yaml": "",
    }
    for file, text in files.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text)
    return root / "models"


def left(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() or path.is_symlink())


def test_everything_of_a_model_goes_and_nothing_else(tmp_path: Path) -> None:
    repository = plant(tmp_path, "other")
    before = left(tmp_path)
    plant(tmp_path, "gone")
    (tmp_path / "models" / "gone" / "link").symlink_to(repository / "other")
    parts = parts_of("gone", repository)
    assert [part.what for part in parts] == ["model", "service", "test", "deployment"]
    assert parts[0].files == 3
    assert parts[0].bytes > 5
    remove("gone", repository, parts)
    assert left(tmp_path) == before
    assert [path.name for path in repository.iterdir()] == ["other"]
    with pytest.raises(ConfigurationError, match="no model 'gone'"):
        parts_of("gone", repository)


def test_what_is_left_of_a_model_can_be_removed(tmp_path: Path) -> None:
    """Of one that was half brought or half removed, or whose model.yaml is broken."""
    repository = plant(tmp_path, "half")
    (tmp_path / "models" / "half" / "model.yaml").write_bytes(b"\xff: [")
    assert len(parts_of("half", repository)) == 4
    remove("half", repository, parts_of("half", repository)[:1])
    remove("half", repository, parts_of("half", repository))
    assert left(tmp_path) == []


@pytest.mark.parametrize("name", ["../models/m", "..", "", "m/../n"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError):
        parts_of(name, plant(tmp_path, "m"))


def test_a_member_of_an_ensemble_stays(tmp_path: Path) -> None:
    repository = plant(tmp_path, "member")
    plant(tmp_path, "vote", ensemble=[{"model": "member"}, "broken", 7])
    plant(tmp_path, "odd", ensemble="member")
    with pytest.raises(ConfigurationError, match="member of the ensemble 'vote'"):
        parts_of("member", repository)
    remove("vote", repository, parts_of("vote", repository))
    remove("member", repository, parts_of("member", repository))


def test_a_service_that_another_model_uses_stays(tmp_path: Path) -> None:
    repository = plant(tmp_path, "one")
    plant(tmp_path, "two", service="one_service.service:Two")
    with pytest.raises(ConfigurationError, match="'two' is served by services/one_service too"):
        parts_of("one", repository)


@pytest.mark.parametrize(
    "path", ["models/m", "services/m_service", "tests/integration/test_m_service.py", "deploy/k8s/services/m"]
)
def test_a_link_is_not_followed(tmp_path: Path, path: str) -> None:
    repository = plant(tmp_path, "m")
    (tmp_path / path).rename(tmp_path / "elsewhere")
    (tmp_path / path).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="is a link"):
        parts_of("m", repository)


def test_a_folder_above_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "project"
    repository = plant(root, "m")
    (root / "services").rename(tmp_path / "elsewhere")
    (root / "services").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="lies outside"):
        parts_of("m", repository)
    assert (tmp_path / "elsewhere" / "m_service").exists()


def test_when_a_part_cannot_go_all_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = plant(tmp_path, "m")
    before, parts, rename = left(tmp_path), parts_of("m", repository), Path.rename

    def stubborn(self: Path, target: Path) -> Path:
        if self.name == "test_m_service.py" and ".draft" in str(target):
            raise PermissionError(1, "not permitted")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stubborn)
    with pytest.raises(ConfigurationError, match=r"nothing was removed"):
        remove("m", repository, parts)
    assert left(tmp_path) == before
