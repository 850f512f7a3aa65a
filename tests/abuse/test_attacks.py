"""Which tests answer which attack: an index, kept true by a test of its own.

An attack is a row of `ATTACKS`: its short name, what it is, and the tests that demand the right answer. A
test is named by its file below `tests` and its function. Attacks on what does not exist yet (HTTP, S3,
schemas, proofs, upload sessions) come with the work that builds it.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent


@dataclass(frozen=True)
class Attack:
    """A row.

    Args:
        decided: where the right answer is another one than might be expected, and why.
    """

    name: str
    what: str
    tests: tuple[str, ...]
    decided: str = ""


ATTACKS = (
    Attack(
        "P1",
        "relative paths that are empty, absolute, climb, hold controls or marks, are no UTF-8, or too long",
        (
            "abuse/test_paths.py::test_a_broken_rule_is_named_with_the_path",
            "abuse/test_paths.py::test_what_cannot_be_stored_cannot_be_asked_for",
            "abuse/test_trees.py::test_unsafe_names_are_refused_or_left_out",
            "abuse/test_trees.py::test_a_path_that_is_too_long_as_a_whole",
            "abuse/test_fuzz.py::test_wild_input_is_taken_rightly_or_refused",
        ),
        "4,096 bytes in any number of segments; a backslash is kept with a warning; names are not normalized",
    ),
    Attack(
        "P2",
        "names that Windows reserves or cannot hold",
        (
            "abuse/test_paths.py::test_everything_else_is_kept_as_given",
            "abuse/test_trees.py::test_backslashes_are_kept_with_a_warning",
        ),
        "real trees have them: they are kept as they are",
    ),
    Attack(
        "P3",
        "names that are one where case or Unicode form is folded; a file beside a folder of its name",
        (
            "abuse/test_trees.py::test_names_that_collide_elsewhere_are_kept_with_a_warning",
            "abuse/test_paths.py::test_a_path_that_is_taken",
            "store/test_export.py::test_the_kit_never_takes_a_name_of_the_evidence",
        ),
        "folded names are a warning; a file that would be a folder too is refused",
    ),
    Attack(
        "P4",
        "a forged manifest that makes an export write elsewhere",
        (
            "abuse/test_paths.py::test_a_manifest_that_was_forged_writes_nothing_out_of_its_place",
            "format/test_manifest.py::test_both_readers_refuse_what_is_almost_a_manifest",
            "store/test_export.py::test_an_export_overwrites_nothing",
            "store/test_export.py::test_an_export_is_private_until_it_is_whole_and_then_as_the_umask_says",
        ),
    ),
    Attack(
        "F1",
        "symbolic links: to files, folders, outside, nowhere, in a ring, multiplying",
        (
            "abuse/test_trees.py::test_links_are_refused_unless_asked_for",
            "abuse/test_trees.py::test_links_can_be_left_out",
            "abuse/test_trees.py::test_followed_links_never_leave_the_directory",
            "abuse/test_trees.py::test_a_loop_of_followed_links_is_refused",
            "abuse/test_trees.py::test_links_of_links_do_not_multiply_without_end",
            "cli/test_storing.py::test_links_are_refused_skipped_or_followed",
        ),
    ),
    Attack(
        "F2",
        "FIFOs, sockets, devices and files of the system that never end, wherever a file is expected",
        (
            "abuse/test_trees.py::test_special_files_are_refused",
            "abuse/test_sources.py::test_what_is_no_file",
            "abuse/test_sources.py::test_a_file_whose_bytes_cannot_be_read",
            "abuse/test_objects.py::test_what_is_no_file_is_no_object_whatever_its_size",
            "abuse/test_objects.py::test_a_marker_that_is_no_file",
            "abuse/test_database.py::test_a_path_that_is_no_file_of_the_disk",
            "lifecycle/test_bytes.py::test_what_is_no_object_in_the_place_of_one_is_a_failure",
            "lifecycle/test_retention.py::test_a_policy_that_never_comes_is_not_waited_for",
            "test_dotenv.py::test_only_regular_files_are_read",
            "test_audit_verify.py::test_a_fifo_is_neither_opened_nor_awaited",
        ),
    ),
    Attack(
        "F3",
        "hard links to outside, setuid bits, sparse files of any size",
        (
            "abuse/test_modes.py::test_no_bit_of_a_source_but_that_of_execution_is_kept",
            "abuse/test_trees.py::test_a_file_that_no_disk_can_hold_is_refused_before_it_is_read",
            "abuse/test_drills.py::test_a_file_of_more_than_four_gib",
        ),
        "no fixed limit of size: what the disk cannot hold is refused before it is read",
    ),
    Attack(
        "F4",
        "files that change, grow, shrink or are swapped while they are read",
        (
            "abuse/test_sources.py::test_a_file_that_changes_while_it_is_read",
            "abuse/test_sources.py::test_a_file_that_grows_without_end_is_not_followed",
            "abuse/test_sources.py::test_a_file_of_a_tree_that_changes_while_it_is_read",
            "abuse/test_sources.py::test_a_file_that_is_swapped_after_it_was_listed",
        ),
    ),
    Attack(
        "F5",
        "folders swapped for links during the walk",
        ("abuse/test_sources.py::test_a_folder_that_is_swapped_during_the_walk",),
    ),
    Attack(
        "F6",
        "very many files, very deep folders, very large files, and globs that never come back",
        (
            "abuse/test_drills.py::test_memory_does_not_grow_with_the_number_of_files",
            "abuse/test_drills.py::test_more_files_than_are_kept_in_memory_or_published_at_once",
            "abuse/test_drills.py::test_a_very_deep_directory",
            "abuse/test_drills.py::test_a_directory_deeper_than_any_path_is_refused_with_the_rule",
            "abuse/test_drills.py::test_a_file_of_more_than_four_gib",
            "abuse/test_trees.py::test_no_glob_and_no_name_keep_a_walk_busy",
        ),
    ),
    Attack(
        "D1",
        "bytes that are not those of the digest that was declared",
        (
            "lifecycle/test_bytes.py::test_a_copy_leaves_out_what_is_damaged_and_tells",
            "lifecycle/test_bytes.py::test_what_nobody_can_give_back_is_listed_with_packages_and_holds",
            "store/test_export.py::test_check_names_what_is_changed_missing_and_unlisted",
        ),
        "only copies, repairs and checks declare digests today",
    ),
    Attack(
        "D2",
        "an object that is damaged when the same bytes come in again",
        (
            "abuse/test_objects.py::test_a_push_of_the_same_bytes_heals_an_object_of_the_wrong_size",
            "lifecycle/test_bytes.py::test_damage_of_the_right_size_is_found_by_verify_and_mended_by_the_next_push",
            "lifecycle/test_bytes.py::test_a_damaged_object_is_given_back_and_the_damage_kept",
            "lifecycle/test_bytes.py::test_an_ingest_does_not_call_whole_what_was_found_damaged_meanwhile",
        ),
        "an object of the right size is not written again: verify finds it, then a push mends it",
    ),
    Attack(
        "D3",
        "bytes whose one digest is right and whose other one was edited",
        ("lifecycle/test_bytes.py::test_an_edited_sha256_is_found_though_the_bytes_are_right",),
        "reading is proved by the BLAKE3; verify, fsck and replay find the edited row",
    ),
    Attack(
        "C1",
        "CBOR that is deep, huge, indefinite, doubled, tagged, long, unsorted, or has bytes behind it",
        (
            "format/test_codec.py::test_what_the_encoder_would_not_write_is_refused",
            "format/test_codec.py::test_a_bomb_of_levels_is_refused_without_a_crash",
            "format/test_codec.py::test_a_huge_length_is_refused_by_the_bytes_that_are_missing",
            "format/test_manifest.py::test_mutants_are_manifests_or_refused_and_both_readers_agree",
            "lifecycle/test_gc.py::test_a_truncated_or_altered_plan_deletes_nothing",
            "lifecycle/test_gc.py::test_a_document_that_is_no_plan_is_refused",
            "abuse/test_bombs.py::test_a_long_key_is_not_repeated_for_what_lies_below_it",
            "abuse/test_fuzz.py::test_wild_input_is_taken_rightly_or_refused",
        ),
        "a manifest has up to 1 GiB, since a million files need 200 MB",
    ),
    Attack(
        "J1",
        "JSON with members twice, NaN, infinities, huge numbers, depth, lone surrogates, UTF-16, a BOM",
        (
            "cli/test_storing.py::test_metadata_that_is_no_strict_json_is_refused",
            "abuse/test_arguments.py::test_metadata_is_what_json_can_say",
            "abuse/test_arguments.py::test_all_that_json_can_say_is_kept",
            "httpapi/test_bodies.py::test_what_is_no_strict_json_is_400",
            "httpapi/test_bodies.py::test_more_values_than_metadata_may_have_are_refused_unread",
            "abuse/test_bombs.py::test_a_double_among_many_keys_is_found_in_one_pass",
            "abuse/test_bombs.py::test_metadata_takes_the_space_of_metadata",
            "abuse/test_objects.py::test_a_damaged_marker",
            "abuse/test_fuzz.py::test_wild_input_is_taken_rightly_or_refused",
        ),
        "64 levels, integers of 64 bits, and NUL in a text are allowed",
    ),
    Attack(
        "A3",
        "secrets in settings that show up in an output, an error, an event or a repr",
        (
            "abuse/test_secrets.py::test_no_output_shows_a_secret",
            "abuse/test_secrets.py::test_no_value_of_the_library_shows_a_secret",
            "test_settings.py::test_refused_secrets_are_not_quoted",
            "test_settings.py::test_accepted_secrets_are_masked",
            "test_dotenv.py::test_malformed_lines_are_refused_without_their_value",
            "cli/test_storage_commands.py::test_a_url_with_a_password_is_refused_and_not_shown",
            "abuse/test_fuzz.py::test_wild_input_is_taken_rightly_or_refused",
        ),
    ),
    Attack(
        "E2",
        "references to secrets that are none",
        ("abuse/test_secrets.py::test_a_reference_to_a_secret_that_is_none_is_refused_by_name",),
        "nothing reads what they point to yet; its rules come with the first reader",
    ),
    Attack(
        "E3",
        "settings smuggled in by a file: lines in values, expansion, foreign names, files of other folders",
        (
            "test_dotenv.py::test_no_assignment_hides_in_a_value_of_several_lines",
            "test_dotenv.py::test_values",
            "test_settings.py::test_precedence_and_origins",
            "test_settings.py::test_a_settings_file_counts_only_where_the_program_stands",
        ),
    ),
    Attack(
        "E4",
        "others who read what a store keeps, because of a generous umask",
        (
            "abuse/test_modes.py::test_all_that_a_store_keeps_is_private",
            "abuse/test_modes.py::test_what_is_taken_out_is_as_the_umask_says",
        ),
        "exports, tars, manifests and plans that a command writes follow the umask",
    ),
    Attack(
        "Q1",
        "SQL, wildcards and nonsense in filters, cursors and limits",
        (
            "abuse/test_arguments.py::test_filters_are_values_never_sql",
            "abuse/test_arguments.py::test_a_filter_that_cannot_be_asked",
            "abuse/test_arguments.py::test_a_cursor_that_is_none",
            "abuse/test_arguments.py::test_a_cursor_of_files_that_is_none",
            "abuse/test_arguments.py::test_a_limit_that_is_none",
            "abuse/test_arguments.py::test_a_number_that_cannot_be_meant",
            "abuse/test_arguments.py::test_what_is_wrong_with_an_argument_is_told_in_one_line",
        ),
    ),
    Attack(
        "Q2",
        "database files that are another's, newer, damaged, links, or have triggers and tables of their own",
        (
            "abuse/test_database.py::test_another_applications_database",
            "abuse/test_database.py::test_a_newer_store",
            "abuse/test_database.py::test_a_changed_schema_is_refused_and_replay_repairs_it",
            "abuse/test_database.py::test_a_log_without_its_guards_is_refused_by_all",
            "abuse/test_database.py::test_a_log_whose_beginning_is_forged",
            "abuse/test_database.py::test_damaged_pages_are_damage_not_a_traceback",
            "abuse/test_database.py::test_a_path_that_is_no_file",
            "abuse/test_database.py::test_a_database_with_a_second_name",
        ),
    ),
    Attack(
        "G1",
        "a gc while the same bytes come in, in every order",
        (
            "lifecycle/test_gc_model.py::test_no_interleaving_loses_bytes",
            "crash/test_interleavings.py::test_every_interleaving_of_two_calls",
            "lifecycle/test_gc.py::test_bytes_that_go_while_an_ingest_runs_are_written_again",
            "lifecycle/test_gc.py::test_bytes_that_come_back_between_release_and_removal_are_kept",
        ),
    ),
    Attack(
        "G2",
        "a hold or an extension between sweep and deletion; a second gc",
        (
            "lifecycle/test_gc.py::test_what_is_saved_between_plan_and_release_is_passed_over",
            "lifecycle/test_gc.py::test_a_plan_is_stale_after_a_hold_an_extension_a_withdrawal_or_a_new_user",
            "lifecycle/test_gc.py::test_gc_again_does_nothing",
        ),
    ),
    Attack(
        "G3",
        "a crash between the event of a deletion and the deletion",
        (
            "lifecycle/test_gc.py::test_an_interrupted_gc_is_finished_by_the_next",
            "crash/test_kill_points.py::test_killed_before_each_system_call",
        ),
    ),
    Attack(
        "G4",
        "an object root that is not mounted, while gc and verify run",
        (
            "lifecycle/test_bytes.py::test_nothing_is_judged_or_deleted_by_a_root_that_is_not_mounted",
            "abuse/test_objects.py::test_a_missing_root_is_not_taken_for_an_empty_store",
            "abuse/test_objects.py::test_a_root_that_belongs_to_another_store",
        ),
    ),
    Attack(
        "R1",
        "clocks that go back, jump ahead, or say what no clock says",
        (
            "lifecycle/test_sweep.py::test_a_clock_that_goes_backwards_shortens_nothing_and_is_reported",
            "lifecycle/test_sweep.py::test_a_clock_a_year_ahead_stops_sweep_and_gc_unless_it_is_accepted",
            "abuse/test_arguments.py::test_a_clock_that_cannot_be_right",
            "store/test_packages.py::test_a_clock_that_was_set_back_does_not_turn_the_log_around",
            "cli/test_deletion_commands.py::test_a_clock_that_has_jumped_stops_sweep_and_gc",
        ),
        "a jump of more than a year stops deletion: an idle weekend must not",
    ),
    Attack(
        "R2",
        "retention that would shrink, or end when no calendar can say",
        (
            "lifecycle/test_retention.py::test_an_extension_never_shortens",
            "lifecycle/test_retention.py::test_an_extension_into_the_past_is_refused",
            "httpapi/test_retention.py::test_an_extension_that_is_none_changes_nothing",
            "lifecycle/test_retention.py::test_a_policy_overrides_and_adds_classes_and_moves_nothing_that_exists",
            "lifecycle/test_retention.py::test_a_bad_policy_is_refused_with_file_and_line",
            "lifecycle/test_retention.py::test_a_policy_that_is_absurd_is_refused_in_one_line",
        ),
    ),
    Attack(
        "R3",
        "holds released twice, by a wrong id, or one of two",
        (
            "httpapi/test_retention.py::test_a_hold_ends_by_its_id_once_and_any_operator_may_end_it",
            "lifecycle/test_retention.py::test_several_holds_are_released_one_by_one",
            "lifecycle/test_retention.py::test_an_unknown_a_foreign_and_a_released_hold_are_refused",
        ),
        "who may release one is decided where callers are told apart, by the HTTP interface",
    ),
    Attack(
        "R4",
        "work on a package that is sealed or unknown",
        (
            "abuse/test_arguments.py::test_a_finalized_package_takes_nothing_more",
            "abuse/test_arguments.py::test_an_unknown_package_is_not_found_by_any_call",
        ),
    ),
    Attack(
        "T1",
        "events edited, deleted, inserted, swapped, cut off",
        (
            "abuse/test_database.py::test_events_cannot_be_changed_not_even_by_a_foreign_connection",
            "lifecycle/test_fsck.py::test_an_edited_event_is_named",
            "lifecycle/test_fsck.py::test_a_damaged_log_is_named_and_its_views_are_not",
            "lifecycle/test_fsck.py::test_an_event_that_is_edited_with_its_hash_contradicts_the_views",
            "crash/test_lost_commits.py::test_commits_that_are_gone_are_missed",
        ),
        "log and views that are forged in full agree; only a digest kept elsewhere tells",
    ),
    Attack(
        "T2",
        "the log of another store, or an older one, in the place of this one",
        (
            "crash/test_lost_commits.py::test_commits_that_are_gone_are_missed",
            "crash/test_lost_commits.py::test_an_older_note_says_nothing",
        ),
        "an older log is told by the note of the last acknowledged event that lies beside it",
    ),
    Attack(
        "T3",
        "view rows edited by hand",
        (
            "abuse/test_database.py::test_an_edited_view_is_noticed_and_repaired",
            "lifecycle/test_fsck.py::test_an_edited_view_is_named_with_its_row_and_mended_by_replay",
        ),
    ),
    Attack(
        "X1",
        "processes that make, migrate, replay and collect at once",
        (
            "store/test_concurrency.py::test_two_processes_create_the_same_store_at_once",
            "store/test_concurrency.py::test_readers_see_whole_states_while_views_are_rebuilt",
            "abuse/test_database.py::test_another_writer_past_the_timeout",
        ),
    ),
    Attack(
        "X2",
        "programs that fork, use threads, or open the database by other means",
        (
            "store/test_concurrency.py::test_parent_and_child_both_write_after_a_fork",
            "store/test_concurrency.py::test_two_processes_with_eight_threads_each_write_at_once",
            "abuse/test_database.py::test_a_neighbour_that_drops_sqlites_locks_lets_no_other_writer_in",
        ),
    ),
    Attack(
        "X3",
        "death at any point, and the same call again",
        (
            "store/test_concurrency.py::test_a_process_that_is_killed_leaves_a_store_that_works",
            "abuse/test_objects.py::test_what_a_crash_left_is_removed_by_age",
            "abuse/test_objects.py::test_a_batch_that_is_at_work_is_left_alone_however_old",
        ),
    ),
)


def functions(file: Path) -> set[str]:
    """The tests of a file."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_each_attack_is_answered_by_tests_that_are_there(attack: Attack) -> None:
    assert attack.what
    missing = []
    for test in attack.tests:
        file, _, function = test.partition("::")
        if function not in functions(TESTS / file):
            missing.append(test)
    assert missing == []


def test_no_attack_has_two_rows() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
