"""Ten-option questions: `sampling` draws the options, `prompt` words the question and parses the reply."""
