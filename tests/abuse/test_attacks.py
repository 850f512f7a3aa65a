"""Which tests answer which attack: an index, kept true by a test of its own.

An attack is a row of `ATTACKS`: its short name, what it is, and the tests that demand the right answer. A
test is named by its file below `tests` and its function, and for a drill also by the row that it runs, in
brackets. Attacks on the HTTP interface (H, most of A) are the rows of docs/explanation/threats.md.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from crash.pairs import ROWS

TESTS = Path(__file__).parent.parent
PAIR = "crash/test_interleavings.py::test_every_interleaving_of_two_calls"


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
            "abuse/test_paths.py::test_what_is_not_seen_does_not_come_in",
            "abuse/test_paths.py::test_what_came_in_before_that_rule_is_read_and_given_out",
            "abuse/test_trees.py::test_unsafe_names_are_refused_or_left_out",
            "abuse/test_trees.py::test_a_path_that_is_too_long_as_a_whole",
            "abuse/test_fuzz.py::test_wild_input_is_taken_rightly_or_refused",
        ),
        "4,096 bytes in any number of segments; a backslash is kept with a warning; nothing is normalized;"
        " joiners and variants stay where Persian, Indian scripts, Han and emoji need them; tags do not",
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
            "cli/test_exporting.py::test_a_planted_kit_is_told_of_however_quiet",
        ),
        "folded names are a warning, and so is a planted kit, since evidence may hold an earlier export; a"
        " file that would be a folder too is refused",
    ),
    Attack(
        "P4",
        "a forged manifest that makes an export write elsewhere",
        (
            "abuse/test_paths.py::test_a_manifest_that_was_forged_writes_nothing_out_of_its_place",
            "format/test_manifest.py::test_both_readers_refuse_what_is_almost_a_manifest",
            "store/test_export.py::test_an_export_overwrites_nothing",
            "store/test_export.py::test_an_export_onto_a_link_says_so",
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
        "no fixed limit of size, which would refuse honest evidence too: what the disk cannot hold is refused"
        " before it is read, and a sparse file that fits is read and kept as the zeros that it says it has",
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
            "httpapi/test_contents.py::test_wrong_digests_are_refused_and_leave_nothing",
            "httpapi/test_uploads.py::test_wrong_bytes_are_refused_and_leave_nothing",
            "client/test_faults.py::test_a_flipped_bit_never_passes",
        ),
    ),
    Attack(
        "D2",
        "an object that is damaged when the same bytes come in again",
        (
            "abuse/test_objects.py::test_a_push_of_the_same_bytes_heals_an_object_of_the_wrong_size",
            "httpapi/test_uploads.py::test_the_same_bytes_heal_an_object_of_the_wrong_size",
            "lifecycle/test_bytes.py::test_damage_of_the_right_size_is_found_by_verify_and_mended_by_the_next_push",
            "lifecycle/test_bytes.py::test_a_damaged_object_is_given_back_and_the_damage_kept",
            "lifecycle/test_bytes.py::test_an_ingest_does_not_call_whole_what_was_found_damaged_meanwhile",
        ),
        "an object of the right size is not written again: verify finds it, then a push mends it",
    ),
    Attack(
        "D3",
        "bytes whose one digest is right and whose other one was edited",
        (
            "lifecycle/test_bytes.py::test_an_edited_sha256_is_found_though_the_bytes_are_right",
            "abuse/test_objects.py::test_a_damaged_object_is_never_given_out",
            "cli/test_reading_commands.py::test_cat_of_a_damaged_object_fails",
        ),
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
            "abuse/test_bombs.py::test_a_manifest_that_is_none_is_refused_before_it_is_taken_apart",
            "abuse/test_bombs.py::test_what_is_said_beside_the_files_may_be_as_large_as_it_can_be",
            "abuse/test_bombs.py::test_a_long_key_is_not_repeated_for_what_lies_below_it",
            "test_audit_verify.py::test_a_list_that_would_become_large_is_not_taken_apart",
            "test_audit_verify.py::test_no_bytes_crash_it_and_what_it_accepts_is_canonical",
            "abuse/test_fuzz.py::test_wild_input_is_taken_rightly_or_refused",
        ),
        "up to 1 GiB, since a million files need 200 MB; a manifest is read by its one form, not as any CBOR",
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
        "S1",
        "schemas that refer to other places, or say what they are in another language",
        (
            "metadata/test_schemas.py::test_a_schema_that_is_refused",
            "metadata/test_schemas.py::test_nothing_is_fetched",
            "metadata/test_store.py::test_a_schema_that_is_refused_changes_nothing",
            "httpapi/test_bodies.py::test_schemas_and_metadata_that_would_take_long_are_422",
        ),
        "an `$id` of elsewhere is a name; nothing is fetched",
    ),
    Attack(
        "S2",
        "schemas and patterns that need very long",
        (
            "metadata/test_schemas.py::test_a_bomb_is_refused",
            "metadata/test_schemas.py::test_a_schema_can_be_a_bomb_itself",
            "metadata/test_patterns.py::test_steps_grow_no_faster_than_the_text",
            "metadata/test_patterns.py::test_what_is_no_pattern_is_refused",
            "metadata/test_schemas.py::test_a_part_that_names_its_dialect_is_bounded_as_all_others",
            "metadata/test_schemas.py::test_a_schema_of_many_small_parts_is_refused_within_its_bounds",
            "metadata/test_schemas.py::test_a_value_that_nothing_allows_is_not_repeated",
            "httpapi/test_bodies.py::test_schemas_and_metadata_that_would_take_long_are_422",
        ),
    ),
    Attack(
        "S3",
        "another schema under a name that has one",
        (
            "metadata/test_store.py::test_a_schema_has_versions",
            "metadata/test_store.py::test_a_package_keeps_the_version_of_its_creation",
            "metadata/test_store.py::test_one_registration_wins_when_many_start_at_once",
        ),
        "it is a new version; packages keep theirs",
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
            "client/test_push.py::test_the_token_is_told_to_nobody",
            "client/test_rude_servers.py::test_a_server_that_repeats_our_token_does_not_make_us_show_it",
            "abuse/test_fuzz.py::test_wild_input_is_taken_rightly_or_refused",
            "s3/test_redirects.py::test_a_session_token_that_a_server_repeats_is_not_told",
            "s3/test_redirects.py::test_no_output_of_a_command_shows_a_session_token",
            "interop/test_git.py::test_the_repository_is_named_by_its_remote_without_secrets",
        ),
    ),
    Attack(
        "E1",
        "services at addresses that are none, or where clouds keep secrets; services that send us elsewhere",
        (
            "test_settings.py::test_unusable_values_are_refused_and_quoted",
            "interop/test_state_hub.py::test_a_link_local_address_is_no_hub",
            "interop/test_state_hub.py::test_an_address_with_secrets_is_refused_without_showing_them",
            "interop/test_state_hub.py::test_a_rude_hub_is_told_later",
            "interop/test_state_hub.py::test_a_slow_hub_is_cut_off",
            "s3/test_redirects.py::test_a_redirect_is_not_followed",
            "client/test_rude_servers.py::test_a_redirect_is_not_followed",
            "s3/test_redirects.py::test_a_place_that_is_none_or_holds_the_token_is_not_told",
            "s3/test_short_way.py::test_a_server_that_hangs_or_drips_is_given_up",
            "s3/test_short_way.py::test_a_body_without_an_end_is_given_up",
        ),
        "names are not looked up; S3 has 30 seconds for each pause; 200 characters of its reasons are told",
    ),
    Attack(
        "E2",
        "references to secrets that are none, and files of secrets that are folders, FIFOs, huge or open",
        (
            "abuse/test_secrets.py::test_a_reference_to_a_secret_that_is_none_is_refused_by_name",
            "s3/test_commands.py::test_what_is_no_secret_is_refused",
            "s3/test_commands.py::test_a_secret_is_read_from_where_the_reference_says",
            "httpapi/test_access.py::test_a_file_of_tokens_that_cannot_be_trusted_is_refused",
        ),
        "secrets are mounted into containers as links to files that all may read: S3 keys are read from such"
        " ones too, with a warning; they are read when they are needed, not at the start",
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
        "whoever may release holds may release any: the event says who it was",
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
            "lifecycle/test_fsck.py::test_the_last_event_edited_with_its_hash_is_not_the_one_that_was_acknowledged",
            "crash/test_corruption.py::test_events",
            "crash/test_lost_commits.py::test_commits_that_are_gone_are_missed",
            "cli/test_storage_commands.py::test_fsck_of_an_altered_log_ends_with_3",
        ),
        "fsck ends with 3, as for all damage; 4 is what was not found. There are no checkpoints: a log that"
        " was computed anew, with its views, is told by the note of its last event where that has changed,"
        " and beyond that only by a backup or the digest of a manifest that was kept elsewhere",
    ),
    Attack(
        "T2",
        "the log of another store, or an older one, in the place of this one",
        (
            "crash/test_lost_commits.py::test_commits_that_are_gone_are_missed",
            "crash/test_lost_commits.py::test_an_older_note_says_nothing",
            "crash/test_corruption.py::test_the_write_ahead_log_of_another_store",
            "abuse/test_objects.py::test_a_root_that_belongs_to_another_store",
            "lifecycle/test_backup.py::test_a_log_that_has_become_shorter_gives_no_backup",
        ),
        "an older log is told by the note of the last acknowledged event that lies beside it: it can be read,"
        " nothing is written. There is no `--accept-rollback`, and no event of it: whoever knows what is lost"
        " removes the note by hand, which no script does by accident",
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
        "T4",
        "an event that is given out as another one than it was",
        (
            "format/test_events.py::test_the_leaves_of_a_real_store",
            "client/test_answers.py::test_an_event_that_is_not_what_it_was_is_none",
            "client/test_answers.py::test_a_log_with_a_gap_is_none",
        ),
        "there are no proofs that an event is in the log, and so none to forge: leaf hashes leave room for"
        " them, but while nobody outside keeps roots of a tree, a proof shows no more than the event does",
    ),
    Attack(
        "X1",
        "processes that make, migrate, replay and collect at once",
        (
            "store/test_concurrency.py::test_two_processes_create_the_same_store_at_once",
            "store/test_concurrency.py::test_readers_see_whole_states_while_views_are_rebuilt",
            "abuse/test_database.py::test_another_writer_past_the_timeout",
            f"{PAIR}[init x init]",
            f"{PAIR}[migrate x migrate, old store]",
            f"{PAIR}[migrate x gc by the program before, old store with expired]",
            f"{PAIR}[migrate x replay by the program before, old store]",
            f"{PAIR}[replay x gc, expired]",
            f"{PAIR}[replay x replay]",
            f"{PAIR}[gc x gc, expired]",
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
    Attack(
        "X4",
        "exports, backups and other outputs below an object root, or evidence from there",
        (
            "abuse/test_own_places.py::test_nothing_is_written_into_the_store_for_its_user",
            "abuse/test_own_places.py::test_no_folder_of_objects_is_evidence",
            "abuse/test_own_places.py::test_a_followed_link_to_a_folder_of_objects_is_refused",
            "abuse/test_trees.py::test_a_directory_that_holds_the_store_is_refused",
            "cli/test_exporting.py::test_no_command_writes_into_the_store",
        ),
        "the staging folder is cleaned by age: what a user kept there would be deleted",
    ),
)


def functions(file: Path) -> set[str]:
    """The tests of a file."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_each_attack_is_answered_by_tests_that_are_there(attack: Attack) -> None:
    assert attack.what
    assert attack.tests
    missing = []
    for test in attack.tests:
        file, _, named = test.partition("::")
        function, _, row = named.partition("[")
        if function not in functions(TESTS / file) or (row and row.removesuffix("]") not in ROWS):
            missing.append(test)
    assert missing == []


def test_no_attack_has_two_rows() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)


# How many attacks of each kind were drawn up before the code. A row may be added, none may fall out.
KINDS = {"P": 4, "F": 6, "D": 3, "C": 1, "J": 1, "S": 3, "H": 15, "A": 6, "E": 4,
         "Q": 3, "G": 4, "R": 4, "T": 4, "X": 3}  # fmt: skip


def test_every_row_of_the_attack_table_is_there() -> None:
    page = (TESTS.parent / "docs/explanation/threats.md").read_text(encoding="utf-8")
    cells = " ".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| "))
    answered = {attack.name for attack in ATTACKS} | set(re.findall(r"\b[A-Z]\d+\b", cells))
    wanted = {f"{kind}{number}" for kind, count in KINDS.items() for number in range(1, count + 1)}
    assert sorted(wanted - answered) == []
