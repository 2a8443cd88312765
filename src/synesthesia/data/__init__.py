"""From published lists and raw video files to batches of decoded clips."""
