"""Cases with a known answer (`evaluation.tasks`): read, asked, compared and counted."""
