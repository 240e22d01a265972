"""The stages in order, in the parent. What is done is skipped."""
