"""What one GPU holds: hand-computed sums, starts and sleepers."""

from vllm_opt.constraints.placing.gpu_memory import bytes_together, fits_gpu, start_order, starting_bytes
from vllm_opt.constraints.placing.site import ServerColumn


def server(held: int, peak: int = 0, turns: int = 2, asleep: int | None = None, service: int = 0) -> ServerColumn:
    return ServerColumn("c", service, "g", 1, 1, 1, bytes_per_gpu=held, load_peak_bytes=peak, most_on_gpu=turns,
                        asleep_bytes=asleep)  # fmt: skip


def test_budgets_and_what_stands_outside_them_add_up_to_the_byte() -> None:
    assert fits_gpu([server(60), server(40)], 100)
    assert not fits_gpu([server(60), server(41)], 100)


def test_a_server_that_shares_with_nobody_stands_alone() -> None:
    assert fits_gpu([server(60, turns=1)], 100)
    assert not fits_gpu([server(30, turns=1), server(30)], 100)


def test_three_need_plans_for_three_turns() -> None:
    assert not fits_gpu([server(20), server(20), server(20, turns=3)], 100)
    assert fits_gpu([server(20, turns=3)] * 3, 100)


def test_the_start_with_the_largest_passing_need_comes_first() -> None:
    servers = [server(30, 35), server(40, 70)]
    assert start_order(servers) == (1, 0)
    assert starting_bytes(servers) == 75  # 70, then 40 + 35
    assert not fits_gpu(servers, 74)


def test_of_sleepers_one_is_awake_at_a_time() -> None:
    sleepers = [server(50, asleep=5, service=1), server(60, asleep=8, service=2)]
    assert bytes_together([server(30), *sleepers]) == 30 + 60 + 5
    assert fits_gpu([server(30), *sleepers], 95)
    assert not fits_gpu([server(30), *sleepers], 94)


def test_two_sleepers_of_one_service_are_never_both_awake() -> None:
    assert not fits_gpu([server(10, asleep=1), server(10, asleep=1)], 100)
