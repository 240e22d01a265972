"""Each row of docs/faults.md, and the tests of this folder that bring it about in a whole run."""

TESTS: dict[str, tuple[str, ...]] = {
    "SIGTERM during a download": ("test_sigterm.py::test_while_a_model_is_being_downloaded",),
    "SIGTERM during training": (
        "test_sigterm.py::test_in_a_step_of_the_training",
        "test_sigterm.py::test_in_an_evaluation_between_two_steps",
    ),
    "SIGTERM during export, quantization or evaluation": ("test_sigterm.py::test_while_a_stage_works",),
    "SIGTERM during an upload": (
        "test_sigterm.py::test_in_an_upload_to_s3",
        "test_sigterm.py::test_in_an_upload_to_the_hub",
    ),
    "SIGKILL at any moment": (
        "test_soak.py::test_twenty_kills_leave_nothing_broken",
        "test_killed.py::test_in_an_upload_over_an_earlier_result",
    ),
    "SIGKILL while a checkpoint is written or uploaded": (
        "test_killed.py::test_in_the_writing_of_a_checkpoint",
        "test_killed.py::test_in_the_upload_of_a_checkpoint",
    ),
    "The node is lost with its disk": ("test_killed.py::test_with_its_node_it_loses_one_save_interval_at_most",),
    "Killed twice for memory at one point": (
        "test_killed.py::test_twice_for_memory_in_one_step_is_a_verdict",
        "test_killed.py::test_twice_with_all_of_its_pod_at_one_point_is_a_verdict",
    ),
    "The GPU's memory is too small": (
        "test_memory_of_the_gpu.py::test_half_the_micro_batch_is_tried_once",
        "test_memory_of_the_gpu.py::test_a_gpu_that_has_no_room_for_one_row_ends_the_run",
    ),
    "A disk is full": (
        "test_full_disk.py::test_a_full_disk_ends_a_run_with_its_folder_and_the_next_attempt_completes",
    ),
    "S3 answers 500, 503, slowly or not at all": (
        "test_s3.py::test_a_storm_of_errors_and_slow_replies_is_waited_for",
        "test_s3.py::test_a_server_that_says_nothing_ends_the_attempt",
    ),
    "The reply to an upload's last request is lost": ("test_s3.py::test_replies_that_are_lost_make_nothing_twice",),
    "Credentials expire during a run": (
        "test_s3.py::test_credentials_that_expire_end_the_attempt_and_fresh_ones_go_on",
    ),
    "The Hub answers 429": ("test_hub.py::test_too_many_requests_are_waited_for",),
    "The Hub answers 5xx after it has committed": (
        "test_hub.py::test_a_commit_that_was_made_though_the_hub_said_500_is_not_made_again",
        "test_hub.py::test_a_commit_that_was_made_before_the_run_gave_up_is_found_by_the_next_attempt",
    ),
    "A write is answered 409 or 412": (
        "test_s3.py::test_a_conflict_with_a_write_that_is_under_way_is_tried_again",
        "test_s3.py::test_what_another_attempt_has_written_first_counts",
        "test_hub.py::test_a_commit_of_somebody_else_in_between_is_built_upon",
    ),
    "A place or a source refuses access": (
        "test_refused_at_the_start.py::test_a_repository_that_cannot_be_written_to",
        "test_refused_at_the_start.py::test_a_prefix_that_cannot_be_written_to",
        "test_refused_at_the_start.py::test_a_bucket_that_is_not_there",
        "test_refused_at_the_start.py::test_a_model_that_cannot_be_read",
        "test_s3.py::test_a_role_that_may_not_delete_is_enough",
    ),
    "A transfer stalls": (
        "test_hub.py::test_a_put_that_is_never_answered_ends_the_attempt",
        "test_hub.py::test_xet_that_stalls_ends_the_attempt",
    ),
    "A download is damaged": ("test_hub.py::test_a_download_that_arrives_damaged_is_fetched_again_and_then_refused",),
    "A checkpoint is damaged": ("test_hostile.py::test_a_checkpoint_that_cannot_be_resumed_from_is_passed_over",),
    "Two pods work on one run": ("test_killed.py::test_while_another_pod_works_on_it_one_of_both_wins",),
    "A node's clock is wrong": (
        "test_killed.py::test_on_a_node_whose_clock_is_two_days_ahead_and_then_on_one_that_is_behind",
        "test_killed.py::test_a_clock_that_s3_does_not_believe_is_the_nodes_fault",
    ),
    "A malformed spec": ("test_refused_at_the_start.py::test_a_malformed_spec",),
    "Rows that were made to do harm": (
        "test_hostile.py::test_a_row_is_text_whatever_it_looks_like",
        "test_hostile.py::test_files_that_would_take_too_much_lie_elsewhere_or_run_are_refused",
    ),
    "A model that was made to do harm": (
        "test_hostile.py::test_files_that_would_take_too_much_lie_elsewhere_or_run_are_refused",
        "test_hostile.py::test_code_of_a_repository_is_never_run",
    ),
    "Names and links that lead out of a folder": (
        "test_hostile.py::test_files_that_would_take_too_much_lie_elsewhere_or_run_are_refused",
        "test_refused_at_the_start.py::test_a_malformed_spec",
    ),
    "Text that looks like an event": (
        "test_hostile.py::test_the_name_of_a_tensor_is_not_an_event",
        "test_hostile.py::test_a_row_is_text_whatever_it_looks_like",
    ),
    "The loss is NaN, or the result is too bad": (
        "test_quality.py::test_a_loss_that_is_not_a_number_publishes_nothing",
        "test_quality.py::test_a_model_that_has_become_worse_publishes_nothing",
    ),
}
