"""A Kubernetes cluster in one thread: an API server that the real kubectl talks to, and a controller for Deployments.

state.py     Deployments, their ReplicaSets and pods, routes: what becomes of them when a Deployment is changed
server.py    the API server over HTTP: discovery, get, list, watch, patch, scale, access reviews, and what pods say
bin/kubectl  what stands on PATH: notes every call, runs `exec` on this machine, leaves the rest
"""
