"""Ten-option questions: which options are drawn, how they are worded, how a reply is parsed."""
