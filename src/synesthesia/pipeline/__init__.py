"""One file a DVC stage: paths and parameters in, files out. The method lives in the other packages."""
