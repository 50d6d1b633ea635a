"""Is a .pt2 file only what torch.export.save writes? Read before torch.export.load, which runs what a file brings.

Four ways lead from such a file to code: compiled libraries and pickled objects in the archive, names of functions to
call, and expressions that sympy evaluates. Each is held against a list of what a program needs; whatever is not on the
list is refused. Pickled tensors are left to torch, which is told by TORCH_FORCE_WEIGHTS_ONLY_LOAD to read nothing else.
"""

import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelyard.errors import ConfigurationError

_MOST_ENTRIES = 100_000
_MOST_JSON = 256 * 2**20
_ENTRY = re.compile(
    r"(?:[^/]+/)?(?:data/(?:weights/(?:weight_\d+|\w+\.(?:json|pt))|constants/(?:tensor_\d+|\w+\.(?:json|pt))"
    r"|sample_inputs/\w+\.pt)|models/\w+\.json|extra/[\w./-]*|archive_format|archive_version|byteorder"
    r"|version|module_info\.json|\.data/\w+|\.format_version|\.storage_alignment)"
    r"|(?:version|serialized_\w+\.(?:json|pt)|extra_files/[\w./-]*)"
)
_TARGET = re.compile(
    r"torch\.ops\.(?:aten|prims|prim|higher_order|quantized_decomposed|torchvision)"
    r"\.(?:[a-z]\w*|_[a-z]\w*|__(?:and|or|xor|lshift|rshift|iand|ior|ixor|ilshift|irshift)__)(?:\.[A-Za-z]\w*)?"
    r"|_operator\.(?:add|sub|mul|floordiv|truediv|mod|neg|pos|pow|abs|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem)"
    r"|math\.(?:ceil|floor|trunc|sqrt|pow|prod)|torch\.(?:_?sym_\w+)"
)
_FORBIDDEN = re.compile(r"torch\.ops\.aten\.from_file\b")
"""It opens a file by its name."""
_TOKEN = re.compile(
    r"\s+|[-+*/%(),=<>&|~!]|\d+(?:\.\d*)?(?:e[-+]?\d+)?|'(?:[a-z]{1,8}\d+)'|[A-Z][A-Za-z]*(?![\w.])|[a-z]{1,3}\d+(?![\w.])"
    r"|(?:positive|negative|nonnegative|nonpositive|integer|real|zero|finite|extended_real|floor|ceiling|oo|zoo|nan"
    r"|int_oo|true|false)(?![\w.])"
)


def check_program(source: Path) -> None:
    """Raises ConfigurationError, naming what a program has no need of."""
    try:
        with zipfile.ZipFile(source) as archive:
            infos = archive.infolist()
            _check_entries(source, infos)
            for info in infos:
                if info.filename.endswith(".json"):
                    _check_document(source, info.filename, json.loads(archive.read(info)))
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
        raise ConfigurationError(f"{source} is a zip that cannot be read ({error}): cut off?") from None
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{source}: a part of it is no JSON ({type(error).__name__})") from None


def _check_entries(source: Path, infos: list[zipfile.ZipInfo]) -> None:
    size = source.stat().st_size
    unpacked = sum(info.file_size for info in infos)
    if len(infos) > _MOST_ENTRIES or unpacked > size:  # torch stores, it never compresses
        raise ConfigurationError(
            f"{source} has {size} bytes and unpacks to {unpacked}, in {len(infos)} entries: torch.export.save wrote no "
            "such file"
        )
    names = [info.filename for info in infos]
    if len(set(names)) != len(names):
        raise ConfigurationError(f"{source} holds an entry twice: torch.export.save wrote no such file")
    for info in infos:
        if not _ENTRY.fullmatch(info.filename) or ".." in info.filename:
            raise _refused(source, f"the entry '{info.filename}' (compiled code or a pickled object, most likely)")
        if info.filename.endswith(".json") and info.file_size > _MOST_JSON:
            raise ConfigurationError(f"{source}: {info.filename} is above {_MOST_JSON // 2**20} MiB")


def _check_document(source: Path, name: str, document: Any) -> None:
    for key, text in _texts(document):
        if key == "target" and (not _TARGET.fullmatch(text) or _FORBIDDEN.match(text)):
            raise _refused(source, f"a call of '{text}' in {name}")
        if key == "expr_str" and not _is_plain(text):
            raise _refused(source, f"the expression '{text}' in {name}")


def _texts(document: Any) -> Iterator[tuple[str, str]]:
    """Every text with its key, however deep; no recursion, which a file could drive too far."""
    waiting = [("", document)]
    while waiting:
        key, part = waiting.pop()
        if isinstance(part, dict):
            waiting += part.items()
        elif isinstance(part, list):
            waiting += [(key, item) for item in part]
        elif isinstance(part, str):
            yield key, part


def _is_plain(expression: str) -> bool:
    """Arithmetic over symbols and sympy's own classes: no attribute, no subscript, no name that starts small."""
    position = 0
    while position < len(expression):
        token = _TOKEN.match(expression, position)
        if token is None:
            return False
        position = token.end()
    return True


def _refused(source: Path, what: str) -> ConfigurationError:
    shown = what if len(what) < 200 else what[:200] + "..."
    return ConfigurationError(
        f"{source} brings what a torch.export program has no need of: {shown}. It could run any code; --trust loads it "
        "all the same, if you know who wrote it"
    )
