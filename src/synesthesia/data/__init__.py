"""Datasets: from published label lists and raw video files to a store of decoded clips, and to batches of them.

`catalogs` reads label lists, `media` decodes files, `decode_jobs` and `executors` run the decoding, `store` keeps the
clips, `clip_inputs` and `clip_batches` load them for models. Nothing imports a model.
"""
