"""How long an update of each stage takes, with a batch that lies on the device.

Teachers and students have random weights: their values change nothing.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence

import jax

from ttl_jax.benchmarks import timing, updates, yardstick
from ttl_jax.training import sharding

TABLES = "benchmark_step.json"


@dataclasses.dataclass(frozen=True)
class Update:
    """An update of one stage.

    Attributes:
      preset: Of the networks.
      stage: Which one.
      dtype: Type the networks compute in.
      params_m: Parameters that learn, millions.
      gmacs_per_image: Multiply-adds of the whole update over its images, 10^9.
      compile_s: Seconds to compile.
      ms: Milliseconds, median of the rounds.
      images_per_s: Of the same.
      peak_mib: Memory beside weights and batch, by the compiler's account.
      share_of_peak: Operations over the time, over those of a large matrix product.
      floor_ms: Time to move the bytes that an update must move, see `traffic`, as fast
        as a large array is changed.
      share_of_floor: The same over `ms`; at 1, only less to move would be faster.
    """

    preset: str
    stage: str
    dtype: str
    params_m: float
    gmacs_per_image: float
    compile_s: float
    ms: float
    images_per_s: float
    peak_mib: float
    share_of_peak: float
    floor_ms: float
    share_of_floor: float


def run(
    *,
    presets: Sequence[str],
    stages: Sequence[str],
    dtypes: Sequence[str],
    crop_size: int,
    batch_size: int,
    rounds: int,
    profile: str | None,
    output: str | None,
) -> str:
    """Measures the updates of all stages, presets and types side by side.

    Args:
      presets: Of `configs/common.py`.
      stages: recog, recon, distill, derain.
      dtypes: "float32", "bfloat16".
      crop_size: In pixels.
      batch_size: Images of a batch.
      rounds: Turns of every case.
      profile: Folder for a trace of one turn of each case; None for none.
      output: Folder for the figures as JSON; None for none.

    Returns:
      The figures as a Markdown table.

    Raises:
      ValueError: If a value is at fault.
      OSError: If a file cannot be written.
    """
    programs = {
        (preset, stage, dtype): updates.compile_update(
            preset, stage, dtype, crop_size, batch_size
        )
        for preset in presets
        for stage in stages
        for dtype in dtypes
    }
    mesh = sharding.make_mesh()
    products = {dtype: yardstick.matrix_product(dtype, mesh) for dtype in dtypes}
    copy, copied_bytes = yardstick.copy(mesh)
    cases = {case: program.run for case, program in programs.items()}
    cases |= {(dtype,): product for dtype, (product, _) in products.items()}
    cases |= {("copy",): copy}
    seconds = timing.take_turns(cases, rounds, _seconds)
    if profile is not None:
        with jax.profiler.trace(profile):
            for program in programs.values():
                program.run()
    peaks = {
        dtype: operations / seconds[(dtype,)]
        for dtype, (_, operations) in products.items()
    }
    bandwidth = copied_bytes / seconds[("copy",)]
    rows = [
        _describe(
            case,
            program,
            seconds[case] / updates.STEPS,
            batch_size,
            peaks[case[2]],
            bandwidth,
        )
        for case, program in programs.items()
    ]
    if output is not None:
        timing.write_json(output, TABLES, {"updates": rows})
    machine = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    crops = f"{batch_size} crops of {crop_size} pixels"
    title = f"Updates with {crops} on {machine}, {rounds} turns of {updates.STEPS}:\n"
    return "\n".join([title, timing.tabulate(Update, rows)])


def _describe(
    case: tuple[str, str, str],
    program: updates.Program,
    seconds: float,
    batch_size: int,
    peak: float,
    bandwidth: float,
) -> Update:
    preset, stage, dtype = case
    floor_seconds = program.floor_bytes / bandwidth
    return Update(
        preset=preset,
        stage=stage,
        dtype=dtype,
        params_m=program.num_params / 1e6,
        gmacs_per_image=program.multiply_adds / batch_size / 1e9,
        compile_s=program.compile_seconds,
        ms=1000 * seconds,
        images_per_s=batch_size / seconds,
        peak_mib=program.temporary_bytes / 2**20,
        share_of_peak=2 * program.multiply_adds / seconds / peak,
        floor_ms=1000 * floor_seconds,
        share_of_floor=floor_seconds / seconds,
    )


def _seconds(run_turn: Callable[[], object]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run_turn())
    return time.perf_counter() - start
