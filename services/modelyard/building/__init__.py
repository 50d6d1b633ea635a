"""`modelyard build NAME`: a container image, or a BentoML bento, of one model and what serves it.

    read_order -> Order: what goes in, checked -> context.write -> a folder laid out as a checkout
                                               -> tools.build: docker, podman or buildah reads it
                                               -> bento.build: BentoML reads it

The Dockerfiles call the same command on what they were given, so that a checkout can be their context too.
"""
