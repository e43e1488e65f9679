"""Videos with sound -> clips, subtitles, filters, questions -> cross-modal conversations.

A stage a file; `runner.curate` puts them in order. The idea is that of Ola's cross-modal data
(videos, speech transcribed, subtitles cleaned, questions that need picture and sound).
"""
