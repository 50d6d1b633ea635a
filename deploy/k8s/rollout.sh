#!/usr/bin/env bash
# Rolls a service to an image, and back by itself when that is worse.
set -euo pipefail
SELF=$(readlink -f "${BASH_SOURCE[0]}" 2> /dev/null) || SELF=${BASH_SOURCE[0]}
HERE=$(CDPATH='' cd -- "$(dirname -- "$SELF")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$HERE/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/pods.sh
. "$HERE/lib/pods.sh"
# shellcheck source-path=SCRIPTDIR source=lib/roll.sh
. "$HERE/lib/roll.sh"

help() {
    cat << 'TEXT'
usage: rollout.sh SERVICE IMAGE [options]

Sets the image of a service, waits until every new pod is ready, asks each which version it serves and whether it
answers its golden rows and the old version's, watches errors and p99 for a while, and goes back to the old version by
itself when the new one is worse. Run twice with the same image it has nothing to do; interrupted and run again it goes
on where it was.

  rollout.sh digits registry.example.com/modelyard-digits:0.2.0 --context production --namespace modelyard

options:
  --digest HEX        the digest that the new pods' model must have (modelyard inspect NAME)
TEXT
    watch_options
    common_options
    say "exit codes:"
    exit_codes
}

main() {
    begin " --digest --watch --prometheus --max-errors --max-refused --max-p99 --least " "$@"
    [ ${#ARGUMENTS[@]} = 2 ] || usage_error "wanted are SERVICE and IMAGE, and nothing else"
    check_service "${ARGUMENTS[0]}"
    check_image "${ARGUMENTS[1]}"
    check_cluster
    read_deployment "$DEPLOYMENT"
    rollable "$DEPLOYMENT"
    check_prometheus
    choose_ask
    roll "$DEPLOYMENT" "${ARGUMENTS[1]}" "$DIGEST"
    say "next: rollback.sh $SERVICE goes back; write the tag into your overlay's images, or the next apply brings the old one"
}

main "$@"
