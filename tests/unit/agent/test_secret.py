from pathlib import Path

import pytest

from handoffd.agent import BadName, BadSecret, read_secret, read_secrets


def secret_file(path: Path, content: bytes = b"s3cret\n", mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_line_ends_after_the_secret_are_not_part_of_it(tmp_path: Path) -> None:
    assert read_secret(secret_file(tmp_path / "s", b" s3cret \r\n\n")) == b" s3cret "


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o620, 0o601])
def test_a_secret_that_others_reach_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = secret_file(tmp_path / "s", mode=mode)
    with pytest.raises(BadSecret, match=f"run: chmod 600 {path}"):
        read_secret(path)


def test_a_secret_only_its_owner_reads_is_accepted(tmp_path: Path) -> None:
    assert read_secret(secret_file(tmp_path / "s", mode=0o400)) == b"s3cret"


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 5_000])
def test_an_empty_or_enormous_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BadSecret, match="bytes"):
        read_secret(secret_file(tmp_path / "s", content))


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(BadSecret, match=str(path)):
            read_secret(path)


def test_secrets_may_be_named_by_sender(tmp_path: Path) -> None:
    one, two = secret_file(tmp_path / "one", b"1"), secret_file(tmp_path / "two", b"2")
    assert read_secrets([f"bob={one}", str(two)]) == {"bob": b"1", "*": b"2"}


def test_two_secrets_for_one_sender_are_refused(tmp_path: Path) -> None:
    path = secret_file(tmp_path / "s")
    with pytest.raises(BadSecret, match="two secret files for bob"):
        read_secrets([f"bob={path}", f"bob={path}"])


def test_a_sender_is_a_legal_name(tmp_path: Path) -> None:
    with pytest.raises(BadName):
        read_secrets([f"Bob={secret_file(tmp_path / 's')}"])
