"""What the root's modes and groups mean to those who share it."""

import os
from pathlib import Path

import pytest
from tests.unit.handmade import START_S, Ground

from handoffd.cli.doctor.patient import Patient
from handoffd.cli.doctor.storage import storage


@pytest.fixture
def shared(tmp_path: Path) -> Ground:
    """Return a root of several users, made by one who is not in its group."""
    ground = Ground.make(tmp_path / "root")
    ground.root.chmod(0o3770)
    for name in ("handoff", "claimed", "archive", "rejected"):
        (ground.root / name).chmod(0o770)
    return ground


def told(ground: Ground) -> list[str]:
    patient = Patient(ground.root / "handoffd.yaml", None, (), ground.root, "alice-vm", -1, None, START_S)
    return [f"{one.message}; {one.remedy}" for one in storage(patient) if one.word == "wrong_mode"]


def test_a_user_outside_the_roots_group_is_told_once_to_change_the_group(shared: Ground, monkeypatch) -> None:
    gid = shared.root.stat().st_gid
    monkeypatch.setattr(os, "getegid", lambda: gid + 1)
    monkeypatch.setattr(os, "getgroups", lambda: [gid + 1, gid + 2])
    monkeypatch.setattr(os, "geteuid", lambda: 65_534)
    (line,) = told(shared)
    assert f"shared by group {gid}, which nobody is not in" in line or f"group {gid}, which #65534" in line
    assert f"sudo chgrp GROUP {shared.root} {shared.root}/{{handoff,claimed,archive,rejected}}" in line


def test_a_user_of_the_group_is_told_each_directory_that_lacks_the_bit(shared: Ground) -> None:
    (shared.root / "claimed").chmod(0o2770)
    lines = told(shared)
    assert [line.rpartition("/")[2] for line in lines] == ["handoff", "archive", "rejected"]
