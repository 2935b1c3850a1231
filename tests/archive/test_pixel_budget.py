"""Many small pictures at once, or one large one."""

import threading
from concurrent.futures import ThreadPoolExecutor

from modeling_chromagan.archive.pixel_budget import PixelBudget


def test_pictures_wait_until_they_fit_and_a_large_one_is_alone():
    budget, most, alone, lock = PixelBudget(10), 0, [], threading.Lock()

    def work(pixels):
        nonlocal most
        with budget.hold(pixels), lock:
            most = max(most, budget.held if pixels <= 10 else 0)
            if pixels > 10:
                alone.append(budget.held == pixels)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [3, 4, 25, 3, 9, 1, 1, 1, 30, 10] * 20))
    assert 0 < most <= 10
    assert all(alone)
    assert budget.held == 0
