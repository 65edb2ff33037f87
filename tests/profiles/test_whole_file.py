"""Files written whole or not at all, and locks that touch nobody's file."""

import stat
from pathlib import Path

import pytest

from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.whole_file import locked, replace_file


def test_a_file_is_replaced_with_its_permissions_and_without_litter(tmp_path: Path) -> None:
    target = tmp_path / "answer.json"
    target.write_text("old")
    target.chmod(0o640)
    replace_file(target, "new\n")
    assert target.read_text() == "new\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert [entry.name for entry in tmp_path.iterdir()] == ["answer.json"]


def test_what_is_there_already_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "answer.json"
    replace_file(target, "same")
    before = target.stat().st_ino
    replace_file(target, "same")
    assert target.stat().st_ino == before


def test_a_link_is_followed_or_replaced_as_asked(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("theirs")
    link.symlink_to(real)
    replace_file(link, "ours", follow_link=False)
    assert (real.read_text(), link.read_text(), link.is_symlink()) == ("theirs", "ours", False)
    link.unlink()
    link.symlink_to(real)
    replace_file(link, "through")
    assert (real.read_text(), link.is_symlink()) == ("through", True)


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"cannot write '.*nowhere/answer': No such file or directory"):
        replace_file(tmp_path / "nowhere" / "answer", "x")


def test_a_second_writer_is_kept_out_and_the_lock_is_free_afterwards(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with locked(lock, "busy"), pytest.raises(InvalidRequest, match="busy"), locked(lock, "busy"):
        pass
    with locked(lock, "busy"):
        assert lock.read_bytes() == b""


def test_a_lock_that_is_a_link_is_refused_and_its_target_untouched(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("precious")
    (tmp_path / ".lock").symlink_to(theirs)
    with pytest.raises(InvalidRequest, match="cannot open the lock"), locked(tmp_path / ".lock", "busy"):
        pass
    assert theirs.read_text() == "precious"
