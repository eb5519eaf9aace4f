"""What memory and disk are free, by the files in which Linux tells it."""

import os

import pytest

from ttl_jax.inference import memory


def test_free_memory_is_less_than_the_machine_has():
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < memory.free_bytes() <= pages


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, None),
        ({"meminfo": "MemTotal: 9 kB\nMemAvailable: 5 kB\n"}, 5120),
        ({"inner/memory.max": "max\n"}, None),
        ({"inner/memory.max": "900\n", "inner/memory.current": "300\n"}, 600),
        ({"memory.max": "900", "memory.current": "300", "meminfo": "MemAvailable: 1 kB"}, 600),
        ({"inner/memory.max": "900", "inner/memory.current": "800",
          "inner/memory.stat": "anon 500\ninactive_file 70\n"}, 170),
        ({"inner/memory.max": "900", "inner/memory.current": "950"}, 0),
    ],
)  # fmt: skip
def test_the_least_of_machine_and_groups_counts(files, free, monkeypatch):
    told = {"/proc/self/cgroup": "3:cpu:/x\n0::/inner\n"}
    for name, text in files.items():
        folder = "/proc" if name == "meminfo" else "/sys/fs/cgroup"
        told[f"{folder}/{name}"] = text
    monkeypatch.setattr(memory, "_read", lambda path: told.get(str(path), ""))
    assert memory.free_bytes() == free


def test_temporary_files_go_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setattr(memory.tempfile, "tempdir", None)  # as at the start
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert memory.scratch_folder() == tmp_path


def test_a_disk_keeps_a_gigabyte_for_others(tmp_path):
    disk = os.statvfs(tmp_path)
    assert not memory.has_room(tmp_path, disk.f_bavail * disk.f_frsize)
    if disk.f_bavail * disk.f_frsize > 2**31:
        assert memory.has_room(tmp_path, 2**29)
