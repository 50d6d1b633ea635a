"""The text of a service's api.py: a field for each input and output, named after its tensor.

The text is written as ruff formats it, so that a checkout with it is as clean as one without.
"""

import json
import keyword
import re
from collections.abc import Sequence

from pydantic import BaseModel

from modelyard.authoring.templates import API
from modelyard.spec import ModelSpec, TensorSpec

WIDTH = 120
_TYPES = {"BOOL": "bool", "BYTES": "str", "FP16": "float", "FP32": "float", "FP64": "float"}
"""int for every other datatype."""
_MOST_FIELD = 40
_OWN = frozenset({"arrays", "of", "cache", "model_version"})
"""Names that a class of api.py has beside the tensors'."""


def api_text(spec: ModelSpec) -> str:
    names = [tensor.name for tensor in spec.outputs]
    cache, version = _free("cache", names), _free("model_version", names)
    outputs = _fields(spec.outputs)
    outputs.append(
        _field("cache", cache, 'Literal["hit", "join", "partial", "miss", "bypass"]', "how the cache answered")
    )
    outputs.append(_field("model_version", version, "str", "the version that answered"))
    return API.substitute(
        model=spec.name,
        table="\n".join(_entry(tensor) for tensor in spec.inputs),
        inputs="\n".join(_fields(spec.inputs)),
        outputs="\n".join(outputs),
        cache=literal(cache),
        version=literal(version),
    )


def literal(text: str) -> str:
    """A string as ruff writes it, in ASCII: a letter that looks like another must not hide."""
    if '"' in text and "'" not in text:
        return "'" + json.dumps(text.replace('"', "'"))[1:-1].replace("'", '"') + "'"
    return json.dumps(text)


def fields_of(tensors: Sequence[TensorSpec]) -> list[str]:
    """A Python name for each tensor: its own where that is one, else the nearest."""
    taken: list[str] = []
    for tensor in tensors:
        field = re.sub(r"[^0-9a-zA-Z]+", "_", tensor.name).strip("_").lower() or "value"
        if tensor.name.isidentifier() and tensor.name.isascii() and not tensor.name.startswith("_"):
            field = tensor.name
        if field[0].isdigit():
            field = f"t{field}"
        if keyword.iskeyword(field) or keyword.issoftkeyword(field) or field in _OWN or hasattr(BaseModel, field):
            field += "_"
        taken.append(_free(field[:_MOST_FIELD], taken))
    return taken


def _fields(tensors: Sequence[TensorSpec]) -> list[str]:
    return [
        _field(field, tensor.name, _type(tensor), f"{tensor.datatype} {list(tensor.shape)}")
        for field, tensor in zip(fields_of(tensors), tensors, strict=True)
    ]


def _field(field: str, name: str, kind: str, description: str) -> str:
    arguments = [f"alias={literal(name)}"] if field != name else []
    arguments.append(f'description="{description}"')
    line = f"    {field}: {kind} = Field({', '.join(arguments)})"
    if len(line) <= WIDTH:
        return line
    inner = f"        {', '.join(arguments)}"
    if len(inner) > WIDTH:
        inner = "\n".join(_long(f"        {argument},") for argument in arguments)
    return f"    {field}: {kind} = Field(\n{inner}\n    )"


def _entry(tensor: TensorSpec) -> str:
    shape = f"({', '.join(map(str, tensor.shape))}{',' * (len(tensor.shape) == 1)})"
    line = f'    {literal(tensor.name)}: ("{tensor.datatype}", {shape}),'
    if len(line) <= WIDTH:
        return line
    return f'{_long(f"    {literal(tensor.name)}: (")}\n        "{tensor.datatype}",\n        {shape},\n    ),'


def _long(line: str) -> str:
    """A line that only the model's own name makes too long. (One without a space is no fault: it cannot be broken.)"""
    fault = len(line) > WIDTH and " " in line.strip()
    return f"{line}  # noqa: E501  (the model's own name)" if fault else line


def _type(tensor: TensorSpec) -> str:
    rank = len(tensor.shape)
    return "list[" * rank + _TYPES.get(tensor.datatype, "int") + "]" * rank


def _free(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name += "_"
    return name
