"""The stages in order, in the parent. Finished stages are skipped."""
