"""A page on this machine that shows what a network sees in two to four faces; the command is `qcs serve`.

Everything but the page itself works without a server: `uploads` reads what was dropped, `look` finds, classifies and
compares the faces, `answer` makes HTML of it. The page needs the extra: `pip install 'qcs[serve]'`.
"""
