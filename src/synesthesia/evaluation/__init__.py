"""Evaluation: `local` asks models on this machine, `remote` text-only models, `csv_import` reads answers from files.

`resume` names the folders of unfinished work.
"""
