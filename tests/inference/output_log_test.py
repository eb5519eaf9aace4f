"""The record of an output folder."""

from ttl_jax.inference import file_jobs, output_log


def test_the_record_survives_a_kill(tmp_path):
    jobs = [file_jobs.Job(f"in/{name}.png", f"{tmp_path}/{name}.png") for name in "abc"]
    options = {"weights": "x", "strength": 1.0}
    log = output_log.OutputLog(tmp_path, lambda target: options)
    log.add(jobs[0].target)
    log.add(jobs[1].target)
    with open(tmp_path / output_log.NAME, "ab") as file:
        file.write(b'{"file": "b.p')  # cut short
    options = {"weights": "y", "strength": 1.0}
    log = output_log.OutputLog(tmp_path, lambda target: options)
    different = log.find_differences(jobs)
    assert different == {jobs[0]: "weights x", jobs[1]: "weights x"}
