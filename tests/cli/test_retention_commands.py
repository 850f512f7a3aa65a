"""`retention extend`, `hold`, `release`, `history`, `explain`, and what `show` and `list` tell of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from store.harness import TREE, Home

from artifactstore.moment import format_moment, parse_moment

if TYPE_CHECKING:
    from pathlib import Path

    from cli.harness import Program

DAY = 86_400_000_000  # microseconds


def expiry(program: Program, package: str) -> str:
    """When a package expires."""
    return str(program.call("show", package, "--json").document["expires_at"])


def hold(program: Program, package: str, reason: str = "dispute", *more: str) -> str:
    """The id of a new hold."""
    return program.call("retention", "hold", package, "--reason", reason, *more).text.strip()


def test_extend_by_a_duration_to_an_instant_and_for_ever(program: Program, pushed: str) -> None:
    first = parse_moment(expiry(program, pushed))
    by = program.call("retention", "extend", pushed, "--by", "10d", "--reason", "audit", "--actor", "ada")
    assert by.text == f"{format_moment(first + 10 * DAY)}\n"
    assert expiry(program, pushed) == by.text.strip()
    until = program.call("retention", "extend", pushed, "--until", "2999-12-31", "--json").document
    assert until["expires_at"] == "2999-12-31T00:00:00.000000Z"
    assert until["package_id"] == pushed
    assert program.call("retention", "extend", pushed, "--forever").text == "never\n"
    assert program.call("show", pushed, "--json").document["expires_at"] is None
    assert "kept for ever already" in program.call("retention", "extend", pushed, "--by", "1d", code=5).stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "give one of --until, --by and --forever"),
        (["--by", "1d", "--forever"], "give one of --until, --by and --forever"),
        (["--until", "soon"], "not an instant: 'soon'"),
        (["--until", "2000-01-01"], "is not later than the present expiry"),
        (["--by", "1 fortnight"], "not a duration: '1 fortnight'"),
        (["--by", "0"], "is not between 1 second and 1,000 years"),
        (["--by", "-5d"], "not a duration: '-5d'"),
        (["--by", "1d", "--reason", ""], "reason"),
    ],
)
def test_extensions_that_are_refused(program: Program, pushed: str, flags: list[str], said: str) -> None:
    with Home(program.directory).unchanged():
        assert said in program.call("retention", "extend", pushed, *flags, code=2).stderr


def test_an_extension_of_what_is_over_must_reach_beyond_now(program: Program, expired: str) -> None:
    over = parse_moment(expiry(program, expired))
    with Home(program.directory).unchanged():
        for flags in (["--until", format_moment(over + 1)], ["--by", "1h"]):
            assert "is in the past" in program.call("retention", "extend", expired, *flags, code=2).stderr
    assert program.call("retention", "extend", expired, "--by", "30d").code == 0


def test_only_a_finalized_package_can_be_extended(program: Program) -> None:
    create = ["package", "create", "--name", "steps", "--producer", "ci", "--subject", "app"]
    package = program.call(*create).text.strip()
    assert "open" in program.call("retention", "extend", package, "--forever", code=5).stderr


def test_holds_are_applied_and_released_one_by_one(program: Program, pushed: str) -> None:
    digest = program.call("show", pushed, "--json").document["manifest_digest"]
    first = hold(program, pushed, "dispute", "--authority", "court", "--case", "42", "--actor", "law")
    second = program.call("retention", "hold", pushed, "--reason", "audit", "--json").document
    assert second["released_at"] is None
    assert second["case_id"] is None
    shown = program.call("show", pushed, "--json").document
    assert [each["hold_id"] for each in shown["retention"]["holds"]] == [first, second["hold_id"]]
    assert shown["retention"]["holds"][0] == {
        "hold_id": first,
        "reason": "dispute",
        "authority": "court",
        "case_id": "42",
        "applied_at": shown["retention"]["holds"][0]["applied_at"],
        "applied_by": "law",
        "released_at": None,
        "released_by": None,
        "release_reason": None,
    }
    assert shown["manifest_digest"] == digest
    released = program.call("retention", "release", pushed, first, "--reason", "settled", "--json").document
    assert released["hold_id"] == first
    assert released["release_reason"] == "settled"
    assert program.call("retention", "release", pushed, second["hold_id"], "--reason", "done").text == (
        f"{second['hold_id']}\n"
    )
    assert program.call("show", pushed, "--json").document["retention"]["holds"] == []


def test_holds_that_are_refused(program: Program, collected: str, pushed: str) -> None:
    known = hold(program, pushed)
    release = ["retention", "release", pushed]
    with Home(program.directory).unchanged():
        assert "ffff" in program.call("retention", "hold", "ffffffff", "--reason", "x", code=4).stderr
        answer = program.call("retention", "hold", collected, "--reason", "x", code=5)
        assert "there is nothing to hold" in answer.stderr
        assert "Missing option '--reason'" in program.call("retention", "hold", pushed, code=2).stderr
        unknown = "01930000-0000-7000-8000-000000000000"
        assert f"no hold {unknown}" in program.call(*release, unknown, "--reason", "x", code=4).stderr
        assert "not a hold id" in program.call(*release, "mine", "--reason", "x", code=2).stderr
        assert (
            "no hold"
            in program.call("retention", "release", collected, known, "--reason", "x", code=4).stderr
        )
    program.call(*release, known, "--reason", "over")
    with Home(program.directory).unchanged():
        assert "was released at" in program.call(*release, known, "--reason", "x", code=5).stderr


def test_the_history_tells_all_that_touched_a_package(program: Program, pushed: str) -> None:
    program.call("retention", "extend", pushed, "--until", "2999-12-31", "--reason", "appeal")
    held = hold(program, pushed, "dispute", "--authority", "court", "--case", "42", "--actor", "law")
    program.call("retention", "release", pushed, held, "--reason", "settled", "--actor", "law")
    rows = program.call("retention", "history", pushed).rows
    assert [row[1] for row in rows] == [
        "v1.package.created",
        "v1.package.finalized",
        "v1.retention.extended",
        "v1.retention.hold_applied",
        "v1.retention.hold_released",
    ]
    assert [row[2] for row in rows[3:]] == ["law", "law"]
    assert [row[3] for row in rows] == [
        "class raw-evidence",
        f"expires {rows[1][3].removeprefix('expires ')}",
        "expires 2999-12-31T00:00:00.000000Z: appeal",
        f"hold {held}: dispute (authority court, case 42)",
        f"hold {held}: settled",
    ]
    document = program.call("retention", "history", pushed, "--json").document
    assert [event["type"] for event in document] == [row[1] for row in rows]
    assert document[3]["payload"]["hold_id"] == held
    lines = program.call("retention", "history", pushed, "--jsonl").lines
    assert [json.loads(line) for line in lines] == document


def test_explain_says_it_in_words(program: Program, expired: str, pushed: str) -> None:
    record = dict(program.call("retention", "explain", pushed).rows)
    assert record["rule"] == "class raw-evidence: kept 90d after finalize"
    assert record["expiry"].startswith("expires at ")
    assert record["gc_would"].startswith("keep it")
    record = dict(program.call("retention", "explain", expired).rows)
    assert record["expiry"].startswith("expired at ")
    assert record["sweep_would"] == "make it eligible"
    program.call("retention", "sweep", "--actor", "cron")
    record = dict(program.call("retention", "explain", expired).rows)
    assert record["gc_would"] == "delete it"
    assert record["eligible"].endswith(" by cron, because it had expired")
    held = hold(program, expired)
    record = dict(program.call("retention", "explain", expired).rows)
    assert record["hold"].startswith(f"{held} since ")
    assert record["sweep_would"] == "withdraw its eligibility: a hold is on it"
    assert record["gc_would"] == "keep it: a hold is on it"
    assert "extended" not in record
    program.call("retention", "extend", expired, "--forever", "--reason", "dispute", "--actor", "ada")
    record = dict(program.call("retention", "explain", expired).rows)
    assert record["extended"].endswith("Z by ada: dispute")
    document = program.call("retention", "explain", expired, "--json").document
    assert document["extension"] == record["extended"]
    assert document["state"]["hold_count"] == 1
    assert document["holds"][0]["hold_id"] == held
    assert document["gc"] == record["gc_would"]
    assert "gc would" in program.seen("retention", "explain", expired)


def test_show_tells_retention_and_verification(program: Program, pushed: str) -> None:
    document = program.call("show", pushed, "--json").document
    assert document["verification"]["failed_count"] == 0
    written = document["verification"]["oldest_at"]
    assert list(document["retention"]) == [
        "rule", "expiry", "extension", "holds", "eligible_at", "eligible_reason", "eligible_by",
        "collected_at", "collected_by", "collected_plan",
    ]  # fmt: skip
    program.call("storage", "verify", "--package", pushed)
    assert program.call("show", pushed, "--json").document["verification"]["oldest_at"] > written
    record = dict(program.call("show", pushed).rows)
    assert record["rule"] == "class raw-evidence: kept 90d after finalize"
    assert parse_moment(record["oldest_verified_at"]) > parse_moment(written)


def test_a_tombstone_says_what_it_was_and_how_it_went(program: Program, collected: str) -> None:
    assert program.call("list").lines == []
    (row,) = program.call("list", "--status", "garbage_collected").rows
    assert row[0] == collected
    assert row[4] == "garbage_collected"
    document = program.call("show", collected, "--json").document
    assert document["name"] == "old"
    assert document["manifest_digest"]
    assert document["retention"]["collected_by"] == "operator"
    assert document["retention"]["collected_plan"].startswith("sha256:")
    assert document["verification"] == {"failed_count": 0, "oldest_at": None}
    record = dict(program.call("show", collected).rows)
    plan = document["retention"]["collected_plan"]
    assert record["deleted"] == (
        f"{document['retention']['collected_at']} by operator, because it had expired, under the plan {plan}"
    )
    assert "oldest_verified_at" not in record
    assert len(program.call("files", collected).lines) == len(TREE)
    digest = program.call("files", collected).rows[0][4]
    (hit,) = program.call("find", digest).rows
    assert hit[0] == collected
    assert hit[-1] == "garbage_collected"
    program.call("manifest", collected, code=5)
    last = program.call("retention", "history", collected).rows[-1]
    assert last[1:] == ["v1.package.garbage_collected", "operator", f"expired, plan {plan}"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[retention_classes.transient\n", 1),
        ("[retention_classes.transient]\ndefault_duration_seconds = -5\n", 2),
        ("[retention_classes.transient]\n\ndays = 3\n", 3),
        ("# mine\n[classes.transient]\n", 2),
        ("[retention_classes.transient]\ndefault_duration_seconds = 99999999999999\n", 2),
    ],
)
def test_a_bad_policy_is_refused_with_file_and_line(
    program: Program, pushed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, line: int
) -> None:
    assert pushed
    policy = tmp_path / "policy.toml"
    policy.write_text(text)
    monkeypatch.setenv("ARTIFACTSTORE_RETENTION_CONFIG_PATH", str(policy))
    for command in ("list", "health"):
        error = program.call(command, code=2).stderr
        assert str(policy) in error
        assert f"{policy}:{line}" in error or f"line {line}" in error


def test_a_policy_decides_for_new_packages_only(
    program: Program, pushed: str, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = expiry(program, pushed)
    policy = tmp_path / "policy.toml"
    policy.write_text(
        '[retention_classes."raw-evidence"]\ndefault_duration_seconds = 60\n[retention_classes.heirloom]\n'
    )
    monkeypatch.setenv("ARTIFACTSTORE_RETENTION_CONFIG_PATH", str(policy))
    push = ["push", str(tree), "--producer", "ci", "--subject", "app"]
    package = program.call(*push).text.strip()
    assert dict(program.call("retention", "explain", package).rows)["rule"] == (
        "class raw-evidence: kept 1m after finalize"
    )
    heirloom = program.call(*push, "--retention-class", "heirloom").text.strip()
    assert program.call("show", heirloom, "--json").document["expires_at"] is None
    assert expiry(program, pushed) == before
