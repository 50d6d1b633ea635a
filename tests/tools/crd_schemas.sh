#!/usr/bin/env bash
# The schemas of the custom resources in deploy/k8s, made anew: tests/unit/deploy/schemas/<Kind>.json.
#
# They are made from the types that npm's @kubernetes-models/* carry (MIT), which are generated from the projects' own Go
# types. Strict: a key that the type does not have is an error. Needed only after a change of version; the tests read
# what is checked in. Wants node and npm on PATH; installs below build/tools.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
out="$root/tests/unit/deploy/schemas"
work="$root/build/tools/crd-schemas"
models="node_modules/@kubernetes-models"

command -v npm >/dev/null || { echo "error: npm is needed (node 20 or newer)" >&2; exit 1; }
mkdir -p "$work" "$out"
cd "$work"
echo '{"private": true}' > package.json
npm install --no-save --silent --no-fund --no-audit ts-json-schema-generator@2.4.0 \
  @kubernetes-models/gateway-api@2.0.0 @kubernetes-models/keda@2.0.0 \
  @kubernetes-models/prometheus-operator@6.0.0 @kubernetes-models/cert-manager@6.0.0
echo '{"compilerOptions": {"module": "nodenext", "moduleResolution": "nodenext", "target": "es2022"}, "files": []}' > tsconfig.json

while read -r path; do
  kind="$(basename "$path")"
  echo "$kind"
  npx --no-install ts-json-schema-generator --no-type-check --jsDoc none --minify --tsconfig tsconfig.json \
    --path "$models/$path.d.ts" --type "I$kind" --out "$out/$kind.json"
done <<'EOF'
gateway-api/gateway.networking.k8s.io/v1/Gateway
gateway-api/gateway.networking.k8s.io/v1/HTTPRoute
gateway-api/gateway.networking.k8s.io/v1/GRPCRoute
keda/keda.sh/v1alpha1/ScaledObject
prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor
prometheus-operator/monitoring.coreos.com/v1/PrometheusRule
cert-manager/cert-manager.io/v1/Certificate
EOF
