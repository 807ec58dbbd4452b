"""How well a source suits a task, by its features alone: one file a score (`domain.scores` names them)."""
