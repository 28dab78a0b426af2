"""QCS against its own baseline on FERPlus: the same image views for every condition, several seeds, one file per run."""
