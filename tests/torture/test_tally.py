"""Many runs add up in one file, and the next one makes the kills that are missing."""
from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from ringfence.torture.tally import CHANCE, GROUP, SEPARATE, SHARES, SUPERVISOR, WORKER, Tally, TallyUnreadable, choose, scattered


def run_of(seed: int, kinds: dict[str, int], **others: object) -> dict[str, object]:
    return {
        "seed": seed, "version": "1", "passed": True, "kills": sum(kinds.values()), "database_kills": 1, "acknowledged": 10, "lost": 0, "duplicated": 0,
        "unresolved": 0, "differences": 0, "kinds": kinds, "proof_ok": True, "longest_away_s": 1.0, "first_success_after_database_s": 0.5, **others,
    }


def test_of_a_thousand_kills_every_kind_has_its_share():
    """Ten runs of a hundred: 300 of everything, 300 of one worker, 40 at each point, and the rest by chance."""
    had: Counter[str] = Counter()
    for seed in range(10):
        had.update(choose(100, had, random.Random(seed)))
    assert had == SHARES and sum(had.values()) == 1_000


def test_what_is_missing_is_chosen_first():
    """After three hundred kills of nothing but workers none more is chosen until the others have caught up."""
    had = Counter({WORKER: 300})
    for seed in range(7):
        chosen = Counter(choose(100, had, random.Random(seed)))
        assert chosen[WORKER] == 0
        had += chosen
    assert had == SHARES


def test_a_short_run_has_the_whole_group_and_single_workers_and_points():
    """Ten kills are not enough for each point, but for each sort."""
    for seed in range(50):
        chosen = choose(10, {}, random.Random(seed))
        assert chosen.count(GROUP) == chosen.count(WORKER) == 3 and len({*chosen} - {GROUP, WORKER}) == 4


def test_what_chance_chose_counts_as_chance():
    """Kinds without a share of their own fill the share of chance."""
    chosen = choose(500, {SUPERVISOR: 20, SEPARATE: 20}, random.Random(1))
    assert chosen.count(CHANCE) == 0


def test_the_same_seed_chooses_the_same_in_the_same_order():
    """A run can be repeated."""
    first, second = (scattered(choose(40, {}, random.Random(7)), "", 4, random.Random(8)) for _ in range(2))
    assert first == second and first.count("") == 4 and len(first) == 44


def test_no_kill_is_chosen_for_a_dry_run():
    """Nought is nought."""
    assert choose(0, {}, random.Random(1)) == []


def test_runs_add_up_and_survive_in_the_file(tmp_path):
    """Sums, hits and the worst times are those of all runs; seeds and versions stay."""
    path = tmp_path / "tally.json"
    Tally(path).add(run_of(1, {GROUP: 2, "in_answer": 1}))
    Tally(path).add(run_of(2, {GROUP: 1, SUPERVISOR: 1}, longest_away_s=2.5, lost=1, proof_ok=False))
    tally = Tally(path)
    assert [(run["seed"], run["version"]) for run in tally.runs] == [(1, "1"), (2, "1")]
    total = tally.total()
    assert (total["runs"], total["kills"], total["database_kills"], total["lost"], total["longest_away_s"]) == (2, 5, 2, 1, 2.5)
    assert total["kinds"] == {GROUP: 3, SUPERVISOR: 1, "in_answer": 1} and total["hits"]["in_answer"] == 1 and not total["proof_ok"]
    assert json.loads(path.read_text())["total"] == total
    assert tally.run_of(2, "1") is not None and tally.run_of(2, "2") is None and tally.run_of(3, "1") is None
    assert [file.name for file in tmp_path.iterdir()] == ["tally.json"]


@pytest.mark.parametrize("content", [
    "", "[]", "{}", '{"runs": 1}', '{"runs": [{}]}', '{"runs": [{"kinds": {"group": "many"}}]}',
    json.dumps({"runs": [run_of(1, {GROUP: 1}) | {"lost": "none"}]}),
])
def test_a_file_that_is_no_tally_is_refused_and_stays(tmp_path, content):
    """Nothing is written over what somebody else may need."""
    path = tmp_path / "tally.json"
    path.write_text(content)
    with pytest.raises(TallyUnreadable, match="not a tally"):
        Tally(path)
    assert path.read_text() == content


def test_a_tally_in_no_folder_is_refused_before_anything_runs(tmp_path):
    """An hour of kills must not end with a file that cannot be written."""
    with pytest.raises(TallyUnreadable, match="no folder"):
        Tally(tmp_path / "nowhere" / "tally.json")
