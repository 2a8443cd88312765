"""Published label lists in, a manifest out: file, labels, and split of each clip. No decoding here.

rows.py          rows of a list, clip ids, duplicate rows
vggsound.py      VGGSound's list formats
audioset.py      AudioSet's list format
label_filter.py  which labels are kept, and their display names
splits.py        finetune, analysis, test, unseen; no video is in two of them
media_index.py   media files of a folder by clip id, for any layout and extension
manifest.py      all of the above: what curate has to decode
"""
