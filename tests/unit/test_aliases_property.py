"""Random sequences of promote, rollback and candidate, through the file, beside a model of a few lines."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard import aliases
from modelyard.aliases import Aliases, promoted, read_aliases, rolled_back, update, with_candidate
from modelyard.errors import ConfigurationError

DEPTH, HISTORY = 4, 12
Step = tuple[str, str | None]
versions = st.sampled_from(["1", "2", "3", "rc-1"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("promote"), versions),
        st.tuples(st.just("candidate"), st.one_of(st.none(), versions)),
        st.tuples(st.just("rollback"), st.none()),
    ),
    max_size=40,
)


@dataclass
class Reference:
    """Stable is the top of a stack."""

    stack: list[str] = field(default_factory=lambda: ["0"])
    promoted: bool = False
    candidate: str | None = None
    changes: list[tuple[str, str | None, str | None]] = field(default_factory=list)

    def take(self, action: str, version: str | None) -> bool:
        """Is the step allowed?"""
        before = self.stack[-1]
        if action == "candidate":
            before, self.candidate = self.candidate or "", version
            if (before or None) != version:
                self.changes.append((action, before or None, version))
            return True
        if action == "promote":
            assert version is not None
            if version == before:
                return True
            self.stack = [*self.stack, version][-(DEPTH + 1) :]
        elif len(self.stack) == 1:
            return False
        else:
            self.stack.pop()
        self.promoted = True
        self.changes.append((action, before, self.stack[-1]))
        if self.candidate == self.stack[-1]:
            self.candidate = None
        return True


def step(state: Aliases, action: str, version: str | None) -> Aliases:
    if action == "promote":
        assert version is not None
        return promoted(state, version, instead_of="0")
    return rolled_back(state) if action == "rollback" else with_candidate(state, version)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_any_sequence_does_what_a_stack_does(sequence: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder, patch.multiple(aliases, DEPTH=DEPTH, HISTORY=HISTORY):
        reference, place = Reference(), Path(folder)
        for action, version in sequence:
            allowed = reference.take(action, version)
            try:
                update(place, lambda state, action=action, version=version: step(state, action, version))  # type: ignore[misc]
            except ConfigurationError:
                assert not allowed
            else:
                assert allowed
            state = read_aliases(place)
            assert state.stable == (reference.stack[-1] if reference.promoted else None)
            assert [*state.older, *([state.previous] if state.previous else [])] == (
                reference.stack[:-1] if reference.promoted else []
            )
            assert state.candidate == reference.candidate
            told = [(change.action, change.before, change.version) for change in state.history]
            assert told == reference.changes[-HISTORY:]
