"""Serve a local page that classifies and compares two to four faces: the command `qcs serve`.

Without a server, `uploads` reads the dropped images, `analysis` detects, classifies and compares the faces, and
`answer` renders the result as HTML. The page needs the extra: `pip install 'qcs-fer[serve]'`.
"""
