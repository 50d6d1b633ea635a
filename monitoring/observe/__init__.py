"""A look at it: real servers, Redis and Prometheus, driven through good and bad times, drawn as the dashboards show it.

scene.py    what runs: two services, a fake GPU, Redis behind a proxy that spoils it, Prometheus (prometheus.py)
drive.py    what happens to it, by the clock; the checks of tests/monitoring go through the same
sheet.py    every panel of the six dashboards with the real data, as PNG
"""
