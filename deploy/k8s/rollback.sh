#!/usr/bin/env bash
# Takes a service back to an earlier revision.
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
usage: rollback.sh SERVICE [--to-revision N] [options]

Shows the history of a service, goes back to the revision before the current one (or to N), waits until every pod is
ready and asks each whether it serves the version that this revision served. Run twice it stays where it went: it never
goes forward to what was left.

  rollback.sh digits --context production --namespace modelyard --dry-run

options:
  --to-revision N     a revision that the history shows; otherwise the one before the current one
TEXT
    common_options
    say "exit codes:"
    exit_codes
}

# The revision to go to: number|hash|image|expected digest|served digest|... of the history, or ended.
choose_target() {
    local list
    list=$(revisions "$DEPLOYMENT")
    if [ -n "$REVISION" ]; then
        TARGET=$(awk -F '|' -v wanted="$REVISION" '$1 == wanted || index("," $7 ",", "," wanted ",") {line = $0} END {print line}' <<< "$list")
        [ -n "$TARGET" ] || die "$NOTHING" "there is no revision $REVISION of $DEPLOYMENT; nothing was changed" "the history is above"
        return 0
    fi
    if [ -n "$D_MARK" ] && [ "${D_MARK##* to }" = "$D_HASH" ]; then
        TARGET=$(awk -F '|' -v now="$D_REVISION" '$1 == now' <<< "$list")
        return 0
    fi
    TARGET=$(awk -F '|' -v now="$D_REVISION" '$1 + 0 < now + 0 {line = $0} END {print line}' <<< "$list")
    [ -n "$TARGET" ] || die "$NOTHING" "$DEPLOYMENT has no earlier revision: there is nothing to go back to; nothing was changed" \
        "rollout.sh $SERVICE IMAGE brings another image"
}

go_back() {
    local number=$1 hash=$2 image=$3 expected=$4 well=1
    if [ "$hash" = "$D_HASH" ]; then
        say "$DEPLOYMENT is at revision $D_REVISION ($image) already: nothing to undo"
    else
        say "going back from revision $D_REVISION ($D_IMAGE) to revision $number ($image)"
        undo_to "$DEPLOYMENT" "$number" "$hash" "by rollback.sh"
    fi
    if [ -n "$DRY_RUN" ]; then return 0; fi
    STATE="$DEPLOYMENT is at $image; it was not checked" NEXT="rollback.sh $SERVICE again: it goes on with waiting and checking"
    settle "$DEPLOYMENT" "$TIMEOUT" || well=''
    untouched "$DEPLOYMENT" "${well:+$hash}" "$image"
    [ -n "$well" ] || die "$LATE" "the pods of $image are not ready within $TIMEOUT s: $WHY; the undo is under way" \
        "rollback.sh $SERVICE again, or kubectl --namespace=$NAMESPACE describe deployment $DEPLOYMENT"
    check_pods "$hash" "$expected" || well=''
    untouched "$DEPLOYMENT" "$hash"
    [ -n "$well" ] || die "$BROKEN" "$DEPLOYMENT is at $image, but: $WHY" "rollback.sh $SERVICE --to-revision N with another of the history"
    keep "$DEPLOYMENT" "$hash"
    say "done: $DEPLOYMENT runs $image, version $VERSION, revision $D_REVISION"
    say "next: find out why; further back: rollback.sh $SERVICE --to-revision N; write the tag into your overlay's images"
}

main() {
    local number hash image digest served rest
    begin " --to-revision " "$@"
    [ ${#ARGUMENTS[@]} = 1 ] || usage_error "wanted is SERVICE, and nothing else"
    check_service "${ARGUMENTS[0]}"
    check_cluster
    read_deployment "$DEPLOYMENT"
    show_history "$DEPLOYMENT"
    choose_target
    rollable "$DEPLOYMENT"
    choose_ask
    IFS='|' read -r number hash image digest served rest <<< "$TARGET"
    go_back "$number" "$hash" "$image" "${served:-$digest}"
}

main "$@"
