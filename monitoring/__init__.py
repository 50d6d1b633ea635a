"""What Prometheus and Grafana are told: rules, alerts and dashboards as code, and a look at them with real data.

    slo.py, recording.py, alerts.py -> rules.py -> prometheus/rules/*.yaml
    grafana/*.py                                -> grafana/dashboards/*.json
    (both by generate.py; what deploy/k8s/components/monitoring/ gives to a cluster is made of these files)

queries.py reads what was generated: every query that there is, for the checks and for the pictures (observe/).
"""
