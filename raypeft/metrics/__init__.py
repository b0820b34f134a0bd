"""Scores of generated programs: exact match, CodeBLEU and functional correctness."""
