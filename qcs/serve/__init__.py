"""Serve a page that classifies and compares faces, and a JSON endpoint: the command `qcs serve`.

Without a server, `uploads` reads images; for the page, `analysis` detects, classifies and compares the faces and
`answer` renders the result as HTML; for the endpoint, `batches` predicts the images of several requests together. Both
need the extra: `pip install 'qcs-fer[serve]'`.
"""
