"""Which version of a model answers, and which ones are kept in memory: from names and aliases alone, without a disk.

default_of    stable -> what serves now -> what a rollback would go to, further and further back -> the newest
in_order      who is loaded first and let go last: what serves, what an alias names, then the newest
kept          the first of them, as many as there may be, and always all that are named
"""

from collections.abc import Collection, Iterable

from modelyard.aliases import CANDIDATE, STABLE, Aliases
from modelyard.manifest import version_order

WORDS = (STABLE, CANDIDATE)
"""What a caller may say in place of a version."""


def default_of(loaded: Collection[str], aliases: Aliases, serving: str = "") -> str:
    """The version that answers callers who name none; empty when none is loaded. `serving`: the one that does so now.

    A stable version that could not be loaded leaves everything as it is. Without a stable one the newest version is
    served, but not a candidate while there is another.
    """
    if aliases.stable in loaded:
        return aliases.stable or ""
    if serving in loaded:
        return serving
    if aliases.stable is not None:
        for version in way_back(aliases):
            if version in loaded:
                return version
    newest = newest_first(loaded)
    return next((version for version in newest if version != aliases.candidate), newest[0] if newest else "")


def way_back(aliases: Aliases) -> list[str]:
    """What rollbacks go to, one after the other."""
    return [] if aliases.previous is None else [aliases.previous, *reversed(aliases.older)]


def named(aliases: Aliases) -> list[str]:
    """The versions that have to be in memory, most wanted first."""
    wanted = (aliases.stable, aliases.candidate, aliases.previous)
    return list(dict.fromkeys(version for version in wanted if version is not None))


def in_order(versions: Iterable[str], aliases: Aliases, serving: str = "") -> list[str]:
    """`versions`, and all that are named, most wanted first."""
    first = [serving] if serving else []
    return list(dict.fromkeys([*first, *named(aliases), *newest_first(versions)]))


def kept(loaded: Collection[str], aliases: Aliases, serving: str, most: int) -> list[str]:
    """Those of the loaded versions that stay: `most` of them, or as many as serve or are named."""
    wanted = [version for version in in_order(loaded, aliases, serving) if version in loaded]
    bound = {serving, *named(aliases)}
    return wanted[: max(most, sum(version in bound for version in wanted))]


def newest_first(versions: Iterable[str]) -> list[str]:
    return sorted(versions, key=version_order, reverse=True)
