"""A model's name becomes names for Python and Kubernetes, or is refused with the reason."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.authoring.names import check_package, names_of
from modelyard.errors import ConfigurationError


@pytest.mark.parametrize(
    ("model", "package", "class_name", "label"),
    [
        ("churn", "churn_service", "Churn", "churn"),
        ("fraud-v2.1", "fraud_v2_1_service", "FraudV21", "fraud-v2-1"),
        ("3D_Net", "m3d_net_service", "M3dNet", "m3d-net"),
        ("a", "a_service", "A", "a"),
        ("none", "none_service", "NoneService", "none"),
        ("true", "true_service", "TrueService", "true"),
        ("inputs", "inputs_service", "InputsService", "inputs"),
        ("model-service", "model_service_service", "ModelServiceService", "model-service"),
        ("class", "class_service", "Class", "class"),
        ("a--b..", "a_b_service", "AB", "a-b"),
    ],
)
def test_names(model: str, package: str, class_name: str, label: str) -> None:
    names = names_of(model)
    assert (names.package, names.class_name, names.label) == (package, class_name, label)


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True))
def test_any_name_that_a_folder_may_have_gives_good_names(model: str) -> None:
    try:
        names = names_of(model)
    except ConfigurationError as error:
        assert "reserved" in str(error)  # noqa: PT017  (most names are good: only these three are not)
        return
    assert names.package.isidentifier()
    assert names.package.endswith("_service")
    assert names.class_name.isidentifier()
    assert not keyword.iskeyword(names.class_name)
    assert re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", names.label)


@pytest.mark.parametrize(
    "model", ["", ".", "..", "../m", "a/b", "-a", "a b", "a\n", "ä", "a" * 64, "a" * 200, "\x1b[2J"]
)
def test_names_that_no_folder_may_have_are_refused(model: str) -> None:
    with pytest.raises(ConfigurationError):
        names_of(model)


@pytest.mark.parametrize("model", ["redis", "base", "modelyard", "Redis", "redis-"])
def test_reserved_names_say_why(model: str) -> None:
    with pytest.raises(ConfigurationError, match="is reserved: "):
        names_of(model)


def test_a_package_that_python_knows_already_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "services" / "known_service").mkdir(parents=True)
    (tmp_path / "services" / "known_service" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "services")
    check_package("known_service", tmp_path / "services")
    check_package("never_heard_of_service", tmp_path / "services")
    with pytest.raises(ConfigurationError, match="is there already"):
        check_package("known_service", tmp_path / "other" / "services")
