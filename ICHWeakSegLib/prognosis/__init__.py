"""Outcome from CT and admission fields: a cohort's table, training, use and evaluation (after ICH-SCNet)."""
