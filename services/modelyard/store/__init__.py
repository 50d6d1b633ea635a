"""Models in an S3-compatible store, laid out as in a repository folder:

    s3://bucket/prefix/<model>/model.yaml, README.md, aliases.json
    s3://bucket/prefix/<model>/versions/<version>/<sha256>/<file>, ...
    s3://bucket/prefix/<model>/versions/<version>/manifest.json

address    s3://bucket/prefix, and which repository a command means
port       what a store can do: get, open, put, upload, head, keys, folders
s3         the one implementation; the only file that knows boto3
remote     a store read and changed as a repository: models, versions, aliases
push, pull one version, whole or not at all, to the store and from it
mirror     a local folder that has what is needed of the store; follow: it is kept up while a server runs

A file lies under its own sha256, so that nothing is ever overwritten; the manifest is written last, and only if there
is none: a reader sees a whole version or none, and of two writers one wins.
"""
