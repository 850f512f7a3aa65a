"""Classes, policies, extensions, holds, history and explanations."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

import pytest
from store.harness import SAID, refused

from artifactstore import InvalidInputError, NotFoundError, SettingsError, StateError
from artifactstore.lifecycle.policy import RetentionPolicy, read_policy
from artifactstore.moment import format_moment
from lifecycle.harness import DAY, MICROSECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from lifecycle.harness import Life

CLASSES = {
    "transient": 86_400,
    "raw-evidence": 7_776_000,
    "summary-evidence": 31_536_000,
    "release-evidence": 220_752_000,
    "permanent-record": None,
}


SECONDS = "default_duration_seconds"


# Expiry and policy


@pytest.mark.parametrize(("name", "seconds"), CLASSES.items())
def test_expiry_counts_from_finalize(life: Life, name: str, seconds: int | None) -> None:
    package = life.store.create_package(**{**SAID, "retention_class": name})
    life.store.ingest_file(package, "data", b"data", actor="ada")
    assert life.store.get_package(package).expires_at is None
    life.tick(days=3)
    life.store.finalize_package(package, actor="ada")
    found = life.store.get_package(package)
    assert found.finalized_at is not None
    assert found.expires_at == (None if seconds is None else found.finalized_at + seconds * MICROSECONDS)
    # It stands in the event itself.
    assert life.store.events(after=life.newest() - 1)[0].payload["expires_at"] == found.expires_at


def test_a_policy_overrides_and_adds_classes_and_moves_nothing_that_exists(
    life: Life, tmp_path: Path
) -> None:
    before = life.push(b"one")
    open_before = life.store.create_package(**{**SAID, "retention_class": "transient"})
    expires = life.store.get_package(before).expires_at
    file = tmp_path / "policy.toml"
    file.write_text(
        "[retention_classes.transient]\ndefault_duration_seconds = 60\n"
        "[retention_classes.audit-2026]\ndefault_duration_seconds = 600\n"
        "[retention_classes.raw-evidence]\n"
    )
    life.reopen(read_policy(file))
    assert life.store.get_package(before).expires_at == expires
    for name, seconds in (("transient", 60), ("audit-2026", 600), ("summary-evidence", 31_536_000)):
        found = life.store.get_package(life.push(b"one", name))
        assert found.retention_seconds == seconds
        assert found.expires_at == (found.finalized_at or 0) + seconds * MICROSECONDS
    # A class without a duration is kept for ever.
    assert life.store.get_package(life.push(b"one", "raw-evidence")).expires_at is None
    # What was decided at creation holds at finalize, whatever the policy says by then.
    life.store.ingest_file(open_before, "data", b"one", actor="ada")
    life.store.finalize_package(open_before, actor="ada")
    found = life.store.get_package(open_before)
    assert found.expires_at == (found.finalized_at or 0) + 86_400 * MICROSECONDS
    # Without the policy its own class is unknown again, but its package is as it was.
    life.reopen()
    with refused(InvalidInputError, "unknown-retention-class", "audit-2026"):
        life.push(b"two", "audit-2026")
    assert [found.name for found in life.store.list_packages(retention_class="audit-2026").items] == [
        "nightly"
    ]


@pytest.mark.parametrize(
    ("text", "line", "mention"),
    [
        ("[retention_classes\n", None, "line 1"),
        ("\n\nx = = 1\n", None, "line 3"),
        ("[other]\n", 1, "'other'"),
        ("# one\nretention_classes = 3\n", 2, "not a table"),
        ("[retention_classes]\ntransient = 60\n", 2, "'transient'"),
        ("[retention_classes.transient]\ndefault_duration_second = 60\n", 2, "'default_duration_second'"),
        ("[retention_classes.transient]\ndefault_duration_seconds = -1\n", 2, "-1"),
        ("[retention_classes.transient]\ndefault_duration_seconds = 0\n", 2, "0"),
        ("[retention_classes.transient]\ndefault_duration_seconds = 1.5\n", 2, "1.5"),
        ('[retention_classes.transient]\ndefault_duration_seconds = "60"\n', 2, "'60'"),
        ("[retention_classes.transient]\ndefault_duration_seconds = true\n", 2, "True"),
        ("[retention_classes.transient]\ndefault_duration_seconds = 31_536_000_001\n", 2, "31536000001"),
        ('\n[retention_classes."Not a class"]\n', 2, "Not a class"),
        (
            # The number stands further up too.
            f"[retention_classes.c-0]\n{SECONDS} = 50\n[retention_classes.x]\n\n{SECONDS} = 0",
            5,
            "0",
        ),
        (
            # So do both words: in a comment, and the name as a part of another.
            f"# a {SECONDS}\n[retention_classes.a-b]\n{SECONDS} = 5\n[retention_classes.a]\n{SECONDS} = -5",
            5,
            "-5",
        ),
        ('[retention_classes."a#b"]\n', 1, "a#b"),
    ],
)
def test_a_bad_policy_is_refused_with_file_and_line(
    tmp_path: Path, text: str, line: int | None, mention: str
) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_policy(file)
    assert mention in caught.value.message
    where = str(file) if line is None else f"{file}:{line}: "
    assert where in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 100_000,
        f"[retention_classes.transient]\n{SECONDS} = " + "9" * 5000,
        f"[retention_classes.transient]\n{SECONDS} = 0x" + "f" * 5000,
        f"[retention_classes.transient]\n{SECONDS} = '" + "x" * 100_000 + "'",
        f"[retention_classes.transient]\n{'x' * 100_000} = 1",
        f"[retention_classes.{'x' * 100_000}]",
        f'["{"x" * 100_000}"]',
        '["\\u202e\\u0007"]',
        "# " + "x" * (1 << 20),
    ],
    ids=["deep", "long integer", "long hexadecimal", "long text", "key", "class", "table", "marks", "large"],
)
def test_a_policy_that_is_absurd_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "policy.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_policy(tmp_path / "policy.toml")
    assert len(caught.value.message) < 500
    assert caught.value.message.isprintable()


def test_a_policy_that_never_comes_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "policy.toml")
    for path in (tmp_path / "policy.toml", "/dev/zero"):
        with refused(SettingsError, "settings", "not a regular file"):
            read_policy(path)


def test_a_policy_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with refused(SettingsError, "settings", "No such file"):
        read_policy(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with refused(SettingsError, "settings", "binary.toml"):
        read_policy(tmp_path / "binary.toml")


def test_a_policy_of_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text("")
    assert read_policy(tmp_path / "policy.toml") == RetentionPolicy()


# Extension


def test_an_extension_goes_to_an_instant_by_a_duration_or_for_ever(life: Life) -> None:
    package = life.push(b"one")
    expires = life.store.get_package(package).expires_at
    assert expires is not None
    state = life.store.extend_retention(package, by=DAY, actor="law", reason="more time")
    assert state.expires_at == expires + DAY * MICROSECONDS
    until = expires + 9 * DAY * MICROSECONDS
    assert life.store.extend_retention(package, until=until, actor="law").expires_at == until
    assert life.store.extend_retention(package, for_ever=True, actor="law").expires_at is None
    with refused(StateError, "kept-for-ever"):
        life.store.extend_retention(package, by=DAY, actor="law")
    assert life.store.get_package(package).expires_at is None
    assert life.types().count("v1.retention.extended") == 3


def test_an_extension_never_shortens(life: Life) -> None:
    package = life.push(b"one", "raw-evidence")
    expires = life.store.get_package(package).expires_at
    assert expires is not None
    with life.home.unchanged():
        for until in (expires, expires - 1, 0, -1, -(2**63), -(10**30)):
            with refused(InvalidInputError, "retention-shortened"):
                life.store.extend_retention(package, until=until, actor="law")
        for by in (0, -DAY, -(10**30)):
            with refused(InvalidInputError, "retention-shortened"):
                life.store.extend_retention(package, by=by, actor="law")
        with refused(InvalidInputError, "invalid-time"):
            life.store.extend_retention(package, by=10_000 * 365 * DAY, actor="law")
        with refused(InvalidInputError, "invalid-time"):
            life.store.extend_retention(package, until=10**30, actor="law")
        with pytest.raises(InvalidInputError):
            life.store.extend_retention(package, actor="law")
        with pytest.raises(InvalidInputError):
            life.store.extend_retention(package, until=expires + 1, for_ever=True, actor="law")
        with pytest.raises(InvalidInputError):
            life.store.extend_retention(package, for_ever=True, actor="law", reason="\x00")


def test_an_extension_into_the_past_is_refused(life: Life) -> None:
    package = life.push(b"one")
    expires = life.store.get_package(package).expires_at
    assert expires is not None
    life.tick(days=10)
    with life.home.unchanged():
        with refused(InvalidInputError, "retention-shortened", "past"):
            life.store.extend_retention(package, until=expires + DAY * MICROSECONDS, actor="law")
        with refused(InvalidInputError, "retention-shortened", "past"):
            life.store.extend_retention(package, by=DAY, actor="law")
    assert life.store.extend_retention(package, by=30 * DAY, actor="law").expires_at is not None


def test_only_a_finalized_package_is_extended(life: Life) -> None:
    package = life.store.create_package(**SAID)
    with refused(StateError, "not-extendable", "open"):
        life.store.extend_retention(package, by=DAY, actor="law")
    (gone,) = life.expired(b"gone")
    life.store.gc(actor="cron")
    with refused(StateError, "not-extendable", "garbage_collected"):
        life.store.extend_retention(gone, by=DAY, actor="law")
    with pytest.raises(NotFoundError):
        life.store.extend_retention(str(uuid.UUID(int=1)), by=DAY, actor="law")


# Holds


def test_several_holds_are_released_one_by_one(life: Life) -> None:
    package = life.push(b"one")
    before = life.store.get_package(package)
    first = life.store.apply_hold(package, reason="lawsuit", authority="court", case_id="42", actor="law")
    second = life.store.apply_hold(package, reason="audit", actor="revision")
    assert (first.reason, first.authority, first.case_id, first.applied_by) == (
        "lawsuit",
        "court",
        "42",
        "law",
    )
    assert first.released_at is None
    assert first.hold_id != second.hold_id
    life.tick(days=2)
    assert life.store.sweep(actor="cron").marked == ()
    released = life.store.release_hold(package, first.hold_id, reason="settled", actor="law")
    assert (released.release_reason, released.released_by) == ("settled", "law")
    assert released.released_at is not None
    assert life.store.sweep(actor="cron").marked == ()
    assert [hold.hold_id for hold in life.store.explain_retention(package).holds] == [second.hold_id]
    life.store.release_hold(package, second.hold_id.upper(), reason="done", actor="revision")
    assert [state.package_id for state in life.store.sweep(actor="cron").marked] == [package]
    # Neither hold nor release has touched what the package is.
    after = life.store.get_package(package)
    assert (after.manifest_digest, after.content_digest) == (before.manifest_digest, before.content_digest)


def test_an_unknown_a_foreign_and_a_released_hold_are_refused(life: Life) -> None:
    package, other = life.push(b"one"), life.push(b"two")
    hold = life.store.apply_hold(package, reason="lawsuit", actor="law")
    with life.home.unchanged():
        with refused(NotFoundError, "not-found", str(uuid.UUID(int=7))):
            life.store.release_hold(package, str(uuid.UUID(int=7)), reason="none", actor="law")
        with refused(NotFoundError, "not-found", hold.hold_id):
            life.store.release_hold(other, hold.hold_id, reason="not yours", actor="law")
        with refused(InvalidInputError, "invalid-input", "'lawsuit'"):
            life.store.release_hold(package, "lawsuit", reason="no id", actor="law")
    life.store.release_hold(package, hold.hold_id, reason="settled", actor="law")
    with refused(StateError, "hold-released", hold.hold_id):
        life.store.release_hold(package, hold.hold_id, reason="again", actor="law")


def test_the_first_digits_of_a_hold_are_enough_if_no_other_has_them(life: Life) -> None:
    package = life.push(b"one")
    first, second = (life.store.apply_hold(package, reason="lawsuit", actor="law").hold_id for _ in "ab")
    alike = first[: next(place for place in range(36) if first[place] != second[place])]
    with life.home.unchanged():
        with refused(InvalidInputError, "ambiguous-id", repr(alike), first, second):
            life.store.release_hold(package, alike, reason="one of them", actor="law")
        with refused(InvalidInputError, "invalid-input", repr(alike[:3])):
            life.store.release_hold(package, alike[:3], reason="too short", actor="law")
    other = life.push(b"two")
    hold = life.store.apply_hold(other, reason="lawsuit", actor="law")
    released = life.store.release_hold(other, hold.hold_id[:8], reason="settled", actor="law")
    assert released.hold_id == hold.hold_id
    assert life.store.explain_retention(other).holds == ()


def test_a_hold_needs_a_package_that_has_its_bytes(life: Life) -> None:
    with pytest.raises(NotFoundError):
        life.store.apply_hold(str(uuid.UUID(int=1)), reason="late", actor="law")
    (gone,) = life.expired(b"gone")
    life.store.gc(actor="cron")
    with life.home.unchanged(), pytest.raises(StateError, match="nothing to hold"):
        life.store.apply_hold(gone, reason="late", actor="law")


@pytest.mark.parametrize("bad", ["", "\x07", "x" * 100_000])
def test_what_a_hold_says_is_a_line_of_text(life: Life, bad: str) -> None:
    package = life.push(b"one")
    with life.home.unchanged():
        for said in ({"reason": bad}, {"reason": "x", "authority": bad}, {"reason": "x", "case_id": bad}):
            with pytest.raises(InvalidInputError):
                life.store.apply_hold(package, actor="law", **said)
        with pytest.raises(InvalidInputError):
            life.store.apply_hold(package, reason="x", actor=bad)


def test_an_open_package_can_be_held(life: Life) -> None:
    package = life.store.create_package(**SAID)
    hold = life.store.apply_hold(package, reason="lawsuit", actor="law")
    life.tick(days=100)
    assert life.store.sweep(actor="cron", mark_abandoned=True).abandoned == ()
    life.store.release_hold(package, hold.hold_id, reason="done", actor="law")
    assert len(life.store.sweep(actor="cron", mark_abandoned=True).abandoned) == 1


# History and explanations


def test_the_history_tells_everything_with_actor_and_time(life: Life) -> None:
    package, other = life.push(b"one"), life.push(b"two")
    hold = life.store.apply_hold(package, reason="lawsuit", actor="law")
    life.store.apply_hold(other, reason="another", actor="law")
    life.store.release_hold(package, hold.hold_id, reason="settled", actor="judge")
    life.store.extend_retention(package, by=DAY, actor="ada", reason="more time")
    life.tick(days=3)
    life.store.verify(actor="scrub")
    life.store.sweep(actor="cron")
    life.store.gc(actor="gc")
    history = life.store.retention_history(package)
    assert [(event.type.removeprefix("v1."), event.actor) for event in history] == [
        ("package.created", "ada"),
        ("package.finalized", "ada"),
        ("retention.hold_applied", "law"),
        ("retention.hold_released", "judge"),
        ("retention.extended", "ada"),
        ("retention.deletion_eligible", "cron"),
        ("package.garbage_collected", "gc"),
    ]
    moments = [event.recorded_at for event in history]
    assert moments == sorted(moments)
    assert history[2].payload["reason"] == "lawsuit"
    assert history[4].payload["reason"] == "more time"


def said(life: Life, package: str) -> tuple[str, str, str]:
    found = life.store.explain_retention(package)
    return found.expiry.partition(",")[0].partition(" at ")[0], found.sweep, found.gc


def test_explain_says_in_plain_words_what_would_happen_in_each_state(life: Life) -> None:
    package = life.store.create_package(**{**SAID, "retention_class": "transient"})
    unfinished = "leave it alone, or report it as abandoned if nobody worked on it for long"
    no_sweep = "keep it: no sweep has made it eligible"
    assert said(life, package) == ("not finalized", unfinished, no_sweep)
    life.store.ingest_file(package, "data", b"data", actor="ada")
    life.store.finalize_package(package, actor="ada")
    assert said(life, package) == ("expires", "leave it alone: it is not due", no_sweep)
    assert life.store.explain_retention(package).rule == "class transient: kept 1d after finalize"
    life.tick(days=2)
    assert said(life, package) == ("expired", "make it eligible", no_sweep)
    hold = life.store.apply_hold(package, reason="lawsuit", actor="law")
    held = "keep it: a hold is on it"
    assert said(life, package) == ("expired", "leave it alone: a hold is on it", held)
    life.store.release_hold(package, hold.hold_id, reason="settled", actor="law")
    life.store.sweep(actor="cron")
    assert said(life, package) == ("expired", "leave it eligible", "delete it")
    hold = life.store.apply_hold(package, reason="lawsuit", actor="law")
    assert said(life, package) == ("expired", "withdraw its eligibility: a hold is on it", held)
    life.store.release_hold(package, hold.hold_id, reason="settled", actor="law")
    life.store.extend_retention(package, by=30 * DAY, actor="law")
    assert said(life, package) == (
        "expires", "withdraw its eligibility: it is not due any more", "keep it: it is not due (any more)"
    )  # fmt: skip
    life.tick(days=30)
    life.store.gc(actor="cron")
    nothing = "nothing: its bytes are gone"
    assert said(life, package)[1:] == (nothing, nothing)
    abandoned = life.store.create_package(**{**SAID, "retention_class": "transient"})
    life.tick(days=31)
    life.store.sweep(actor="cron", mark_abandoned=True)
    assert said(life, abandoned) == ("not finalized", "leave it eligible", "delete it")
    life.store.gc(actor="cron")
    assert said(life, abandoned) == ("was never finalized", nothing, nothing)
    kept = life.push(b"kept", "permanent-record")
    found = life.store.explain_retention(kept)
    assert (found.rule, found.expiry) == (
        "class permanent-record: kept for ever after finalize", "never expires"
    )  # fmt: skip


def test_explain_tells_the_last_extension(life: Life) -> None:
    package = life.push(b"one", "raw-evidence")
    assert life.store.explain_retention(package).extension is None
    life.store.extend_retention(package, by=DAY, actor="ada", reason="a customer asked")
    life.store.apply_hold(package, reason="lawsuit", actor="law")
    extended = life.store.retention_history(package)[2]
    found = life.store.explain_retention(package)
    assert found.extension == f"{format_moment(extended.recorded_at)} by ada: a customer asked"
    assert found.rule == "class raw-evidence: kept 90d after finalize"
    life.store.extend_retention(package, for_ever=True, actor="bob")
    found = life.store.explain_retention(package)
    assert found.extension is not None
    assert found.extension.endswith("Z by bob")
    assert found.expiry == "never expires"
