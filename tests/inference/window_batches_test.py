"""Arrays of several threads share batches; each gets its own result."""

import concurrent.futures
import threading

import numpy as np
import pytest

from ttl_jax.inference.window_batches import Batches

SECONDS = 20  # after which a thread that waits gives up


class Network:
    """Doubles batches when it is released; records shapes, and whether two calls overlap."""

    def __init__(self):
        self.shapes, self.go = [], threading.Event()
        self._at_work = threading.Lock()

    def __call__(self, batch):
        assert self._at_work.acquire(blocking=False)
        self.shapes.append(batch.shape)
        assert self.go.wait(SECONDS)
        self._at_work.release()
        return 2 * batch


@pytest.fixture
def network():
    network = Network()
    yield network
    network.go.set()


def test_results_come_in_order_and_are_each_array_s_own(network):
    network.go.set()
    arrays = [np.full((2 + number % 2, 3), number) for number in range(20)]
    for size in (1, 4):
        results = list(Batches(network, size).map(arrays))
        assert len(results) == 20
        for array, result in zip(arrays, results):
            np.testing.assert_array_equal(result, 2 * array)
    assert {shape[1:] for shape in network.shapes} == {(2, 3), (3, 3)}
    assert {shape[0] for shape in network.shapes} <= {1, 4}


def test_threads_share_batches_of_one_shape(network):
    batches = Batches(network, 3)
    sides = (5, 7, 7, 5, 7, 7)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:

        def submit(side):
            array = np.full((side,), side)
            return pool.submit(lambda: list(batches.map([array])))

        futures = [submit(sides[0])]
        while not network.shapes:  # the first one must reach the network alone
            assert not concurrent.futures.wait(futures, 0.01).done
        futures += map(submit, sides[1:])
        while len(batches._waiting) < 5:
            assert not concurrent.futures.wait(futures, 0.01).done
        network.go.set()
        for side, future in zip(sides, futures):
            (result,) = future.result()
            np.testing.assert_array_equal(result, np.full((side,), 2 * side))
    # A single array is computed at once; full batches follow, and others are filled.
    assert len(network.shapes) <= 4
    assert network.shapes[0] == (1, 5)
    assert {shape[0] for shape in network.shapes[1:]} <= {1, 3}
    assert (3, 7) in network.shapes


def test_arrays_are_drawn_as_results_are_asked_for(network):
    network.go.set()
    drawn = []

    def draw():
        for number in range(100):
            drawn.append(number)
            yield np.zeros(2)

    results = Batches(network, 2).map(draw())
    assert drawn == []
    next(results)
    assert len(drawn) == 4  # two batches


def test_a_failing_check_ends_the_waiting_and_cancels_the_rest(network):
    batches = Batches(network, 1)
    calls = []

    def check():
        calls.append(1)
        if len(calls) == 3:
            raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        list(batches.map([np.zeros(2)] * 5, check))
    network.go.set()
    assert next(batches.map([np.ones(3)])).sum() == 6
    assert network.shapes == [(1, 2), (1, 3)]  # the first was at work already


def test_an_error_reaches_the_callers_of_its_batch():
    def compute(batch):
        if batch.shape[1] == 3:
            raise ValueError("no memory")
        return batch

    batches = Batches(compute, 2)
    with pytest.raises(ValueError, match="no memory"):
        list(batches.map([np.zeros(3)] * 5))
    assert len(list(batches.map([np.zeros(2)] * 5))) == 5


def test_the_thread_ends_with_its_object(network):
    network.go.set()
    batches = Batches(network, 1)
    list(batches.map([np.zeros(2)]))
    (thread,) = batches._thread._threads
    del batches
    thread.join(SECONDS)
    assert not thread.is_alive()
