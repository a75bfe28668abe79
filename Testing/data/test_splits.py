"""Who trains on what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ICHSegmentationLib.data.splits import member_split, split_of_file
from ICHSegmentationLib.errors import InputError

CASES = {f"case_{number:03d}": f"case_{number:03d}" for number in range(100)}


def test_each_member_trains_on_another_80_of_100_cases_and_is_validated_on_the_rest() -> None:
    splits = [member_split(CASES, 0.8, seed=3, member=member) for member in range(8)]
    for split in splits:
        assert (len(split.training), len(split.validation)) == (80, 20)
        assert set(split.training) | set(split.validation) == set(CASES)
    assert len({split.training for split in splits}) == 8
    assert splits[2] == member_split(dict(reversed(CASES.items())), 0.8, seed=3, member=2)


def test_cases_of_one_head_are_never_parted() -> None:
    heads = {f"case_{number}": f"head {number % 7}" for number in range(60)}
    split = member_split(heads, 0.6, seed=0, member=0)
    assert {heads[name] for name in split.training}.isdisjoint(heads[name] for name in split.validation)
    assert len({heads[name] for name in split.training}) == 4


def test_all_cases_or_one_may_be_asked_for_and_none_may_not() -> None:
    assert member_split(CASES, 1.0, 0, 0).validation == ()
    assert len(member_split(CASES, 1e-6, 0, 0).training) == 1
    for share in (0.0, 1.2):
        with pytest.raises(InputError, match=f"found {share}"):
            member_split(CASES, share, 0, 0)


def test_a_fold_of_nnunets_own_splits_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "splits_final.json"
    path.write_text(json.dumps([{"train": ["a", "b"], "val": ["c"]}, {"train": ["c"], "val": ["a"]}]))
    assert split_of_file(path, {"a": "1", "b": "1", "c": "2"}, 0).training == ("a", "b")
    assert split_of_file(path, {"a": "1", "b": "1", "c": "2"}, 1).validation == ("a",)


def test_a_fold_that_parts_a_head_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "splits_final.json"
    path.write_text(json.dumps([{"train": ["a", "b"], "val": ["c"]}]))
    with pytest.raises(InputError, match=r"trains on a and validates on c, which are of one head \(head 4\)"):
        split_of_file(path, {"a": "head 4", "b": "b", "c": "head 4"}, 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no splits_final.json"),
        ('[{"train": ["a"]}]', "is no splits_final.json"),
        ("[]", "has 0 folds"),
        ('[{"train": [], "val": ["a"]}]', "has no cases to train on"),
        ('[{"train": ["z"], "val": ["a"]}]', "names z, which is no case"),
        ('[{"train": ["a"], "val": ["a"]}]', "has a both to train on and to validate on"),
    ],
)
def test_splits_that_do_not_fit_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "splits_final.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        split_of_file(path, {"a": "a", "b": "b"}, 0)
    with pytest.raises(InputError, match="cannot be read"):
        split_of_file(tmp_path / "absent.json", {"a": "a"}, 0)
