"""Where a shorter row is padded, with either trainer."""

from job.train.padding import on_the_left


def test_rows_are_padded_on_the_left_with_masks_and_labels_to_match() -> None:
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    collate = on_the_left(DataCollatorForLanguageModeling(pad_token_id=9))
    batch = collate([{"input_ids": [1, 2, 3], "labels": [-100, 2, 3]}, {"input_ids": [4], "labels": [4]}])
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[1, 2, 3], [9, 9, 4]],
        "labels": [[-100, 2, 3], [-100, -100, 4]],
        "attention_mask": [[1, 1, 1], [0, 0, 1]],
    }
