"""Under overload: is a request that would be refused worth a look into memory?"""

from __future__ import annotations

import pytest

from modelyard.cache.worth import RECENT
from tests.unit.cache.fakes import Bench, FakeRedis
from tests.unit.cache.test_response_cache_worth import CHEAP, answered, cost, keep_out


def known(bench: Bench, hits: int, misses: int) -> None:
    """Look up so many requests at once that memory knows, and others that it does not know and that are refused."""

    class Refused(Exception):
        pass

    def refuse(_: int) -> None:
        raise Refused

    assert bench.memory is not None
    for _ in range(hits):
        assert bench.cache.submit(*bench.request(1), refuse, lambda _: None) is None
    for _ in range(misses):
        with pytest.raises(Refused):
            bench.cache.submit(*bench.request(2), refuse, lambda _: None)
    look_up = bench.cache.tiers["memory"].look_up
    look_up.settle()
    look_up.value = 1e-5


async def test_while_hardly_anything_is_known_no_look_is_worth_it() -> None:
    bench = Bench(factor=25)
    await answered(bench, 1)
    looks = [bench.cache.worth_a_look]
    for hits in (10, 100):
        known(bench, hits=hits, misses=RECENT - hits)
        bench.cache.review(cost(1e-3))
        looks.append(bench.cache.worth_a_look)
    assert looks == [True, False, True]
    assert bench.cache.pays, "what there is room for is looked up all the same"


async def test_the_dearer_the_model_the_fewer_need_to_be_known() -> None:
    bench = Bench(factor=25)
    await answered(bench, 1)
    known(bench, hits=10, misses=RECENT - 10)
    bench.cache.review(cost(1e-2))
    assert bench.cache.worth_a_look


async def test_a_few_unknown_requests_decide_nothing() -> None:
    bench = Bench(factor=25)
    await answered(bench, 1)
    for _ in range(10):
        known(bench, hits=0, misses=10)
        bench.cache.review(cost(1e-3))
    assert bench.cache.worth_a_look


async def test_factor_0_looks_always() -> None:
    bench = Bench()
    await answered(bench, 1)
    known(bench, hits=0, misses=RECENT)
    bench.cache.review(cost(CHEAP))
    assert bench.cache.worth_a_look


@pytest.mark.parametrize("memory", [True, False])
async def test_only_memory_is_worth_a_look(memory: bool) -> None:
    bench = Bench(memory=memory, redis=FakeRedis(), factor=10)
    assert bench.cache.worth_a_look == memory
    if memory:
        keep_out(bench, "memory")
    bench.cache.review(cost(1e-3))
    assert not bench.cache.worth_a_look
