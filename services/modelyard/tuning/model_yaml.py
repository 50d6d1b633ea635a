"""Chosen settings go into model.yaml; comments, order and every other byte stay.

    text -> where the values stand (YAML's own marks) -> text with them replaced or added -> checked -> renamed in place

Dumping a parsed document again would lay out the rest of the file anew, so only the values are exchanged. The new text
is read as a spec before it is put in place, and must say exactly what was meant, however unusual the file.
"""

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

import yaml

from modelyard.errors import ConfigurationError
from modelyard.spec import MODEL_YAML, BatchingSpec, ModelSpec, parse_spec
from modelyard.tuning.grid import Setting, current_setting

Values = Mapping[str, int | float]
_SECTION = "batching"


def changes(batching: BatchingSpec, chosen: Setting, threads: int) -> dict[str, int | float]:
    """The keys of batching that have to change, and no other: what is chosen already stays as it is written.

    `threads`: how many a server has for running models.
    """
    current = current_setting(batching, threads)
    changed: dict[str, int | float] = {}
    if chosen.rows > batching.max_batch_size:
        changed["max_batch_size"] = chosen.rows
    if chosen.rows != (batching.merge_rows or changed.get("max_batch_size", batching.max_batch_size)):
        changed["merge_rows"] = chosen.rows
    if chosen.delay_ms != current.delay_ms:
        changed["max_queue_delay_ms"] = int(chosen.delay_ms) if chosen.delay_ms.is_integer() else chosen.delay_ms
    if chosen.executors != current.executors:
        changed["executors"] = chosen.executors
    return changed


def write(folder: Path, measured: ModelSpec, values: Values) -> None:
    """Put `values` into the model.yaml of `folder`. Raises ConfigurationError, and leaves the file, when it cannot be.

    `measured` is the spec that the figures are of: a file that says something else by now is left alone.
    """
    path = (folder / MODEL_YAML).resolve()  # a link stays a link
    text = path.read_bytes().decode("utf-8")
    if parse_spec(text, str(path)) != measured:
        raise ConfigurationError(f"{path} was changed while the model was measured: nothing is written")
    _replace(path, checked(text, measured, values))


def checked(text: str, spec: ModelSpec, values: Values) -> str:
    """The new text. Raises ConfigurationError unless it says what `spec` says, with `values`."""
    batching = BatchingSpec.model_validate(spec.batching.model_dump() | dict(values))
    wanted = spec.model_copy(update={_SECTION: batching})
    lines = ", ".join(f"{_SECTION}.{key}: {value}" for key, value in values.items())
    try:
        edited = edit(text, values)
        same = parse_spec(edited) == wanted
    except ConfigurationError:
        same = False
    if not same:
        raise ConfigurationError(f"{MODEL_YAML} is written in a way that is not edited here; write it by hand: {lines}")
    return edited


def edit(text: str, values: Values) -> str:
    """`text` with `values` in its section batching. The text is a good model.yaml."""
    if not values:
        return text
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)  # noqa: S101  (a spec that was read is a mapping)
    section = _entries(root).get(_SECTION)
    newline = "\r\n" if "\r\n" in text else "\n"
    if not isinstance(section, yaml.MappingNode):
        return _with_section(text, root, values, newline)
    present = _entries(section)
    edits = [(present[key], str(value)) for key, value in values.items() if key in present]
    added = {key: value for key, value in values.items() if key not in present}
    place, insertion = _addition(text, section, added, newline)
    pieces = [(node.start_mark.index, node.end_mark.index, new) for node, new in edits]
    for start, end, new in sorted([*pieces, (place, place, insertion)], reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _entries(mapping: yaml.MappingNode) -> dict[str, yaml.Node]:
    return {str(key.value): value for key, value in mapping.value}


def _with_section(text: str, root: yaml.MappingNode, values: Values, newline: str) -> str:
    """A section where there was none: at the end of the document."""
    place = root.end_mark.index
    if root.flow_style:
        inner = ", ".join(f"{key}: {value}" for key, value in values.items())
        last = root.value[-1][1].end_mark.index
        return f"{text[:last]}, {_SECTION}: {{{inner}}}{text[last:]}"
    before = text[:place] if text[:place].endswith("\n") else text[:place] + newline
    indent = " " * root.start_mark.column
    lines = [f"{indent}{_SECTION}:", *(f"{indent}  {key}: {value}" for key, value in values.items()), ""]
    return before + newline.join(lines) + text[place:]


def _addition(text: str, section: yaml.MappingNode, values: Values, newline: str) -> tuple[int, str]:
    """Where new keys go, and the text that goes there."""
    pairs = [f"{key}: {value}" for key, value in values.items()]
    if not pairs:
        return section.start_mark.index, ""
    if section.flow_style:
        if not section.value:
            return section.start_mark.index + 1, ", ".join(pairs)
        return section.value[-1][1].end_mark.index, "".join(f", {pair}" for pair in pairs)
    first = section.value[0][0].start_mark  # the section's own mark is that of its anchor, if it has one
    indent = " " * min(first.column, section.start_mark.column)
    block = "".join(f"{indent}{pair}{newline}" for pair in pairs)
    ends = [value.end_mark for _, value in section.value if isinstance(value, yaml.ScalarNode) or value.flow_style]
    if not ends:  # the end of a block list is not told exactly: go before the first key
        return text.rfind("\n", 0, first.index) + 1, block
    end = text.find("\n", ends[-1].index)  # behind the comment of that line
    return (end + 1, block) if end >= 0 else (len(text), newline + block)


def _replace(path: Path, text: str) -> None:
    """Whole or not at all, with the mode that the file had."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
