"""Label lists as they are published -> which file is which clip, under which label, in which split.

listing.py   rows of a list, ids, what is listed twice
vggsound.py  VGGSound's dialects            audioset.py  AudioSet's dialect
labels.py    which labels stay, and what the prompt calls them
splits.py    finetune, analysis, test, unseen; no video in two of them
files.py     the media files of a folder, by id whatever the layout and extension
plan.py      all of it together: what curate has to decode
"""
