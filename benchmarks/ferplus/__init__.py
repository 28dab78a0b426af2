"""QCS against its own baseline on FERPlus: equal image views for every condition, several seeds, a file per run."""
