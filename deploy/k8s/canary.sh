#!/usr/bin/env bash
# A share of the traffic for a new image, beside the version that serves: the weights of the service's HTTPRoute.
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
usage: canary.sh start SERVICE IMAGE WEIGHT [options]
       canary.sh promote SERVICE [IMAGE] [options]
       canary.sh abort SERVICE [options]

start     runs IMAGE in SERVICE-canary, asks its pods as rollout.sh does, gives it WEIGHT per cent of the traffic and
          watches it beside the stable version; when it is worse, its weight is 0 again. Again with a higher WEIGHT is
          the next step.
promote   rolls SERVICE-server to the canary's image, as rollout.sh does, then takes the canary away
abort     weight 0, no pods
An IMAGE given to promote or abort must be the canary's; a WEIGHT is not looked at there.

The cluster needs the Gateway API, and the overlay the components gateway and canary.

  canary.sh start digits registry.example.com/modelyard-digits:0.2.0 10 --context production --namespace modelyard

options:
  --replicas N        pods of the canary: 1
  --digest HEX        the digest that the canary's model must have (modelyard inspect NAME)
TEXT
    watch_options
    common_options
    say "exit codes:"
    exit_codes
}

# --- weights ---------------------------------------------------------------------------------------------------------

# shellcheck disable=SC2016 # these are the template's own variables
readonly ROUTES_TEMPLATE='{{range .items}}{{$of := .metadata.name}}{{range $i, $rule := .spec.rules}}{{range $j, $ref := $rule.backendRefs}}{{$of}}|{{$i}}|{{$j}}|{{$ref.name}}|{{$ref.weight}}
{{end}}{{end}}{{end}}'

# find_routes FILE: of every rule that names both, the places of both backends: kind|route|rule|place|backend|weight. A
# backend without a weight has 1. Rules that do not split the traffic are not ours.
find_routes() {
    local kind
    : > "$1"
    for kind in httproutes grpcroutes; do
        if look get "$kind.gateway.networking.k8s.io" -o "go-template=$ROUTES_TEMPLATE" > "$FOLDER/found" 2> "$FOLDER/errors"; then
            awk -F '|' -v kind="$kind" -v stable="$DEPLOYMENT" -v canary="$CANARY" '
                { rule = $1 "|" $2 }
                $4 == stable { has_stable[rule] = 1 }
                $4 == canary { has_canary[rule] = 1 }
                $4 == stable || $4 == canary { rules[++n] = rule; lines[n] = kind "|" rule "|" $3 "|" $4 "|" ($5 ~ /^[0-9]+$/ ? $5 : 1) }
                END { for (i = 1; i <= n; i++) if (has_stable[rules[i]] && has_canary[rules[i]]) print lines[i] }
            ' "$FOLDER/found" >> "$1"
        elif [ "$kind" = httproutes ]; then
            answers_at_all || die "$NO_CLUSTER" "the cluster does not answer: $(last_line)${STATE:+; $STATE}" "kubectl cluster-info"
            die "$MISSING" "HTTPRoutes cannot be read; is the Gateway API installed, and may you? ${STATE:-nothing was changed}" "kubectl get httproutes --namespace=$NAMESPACE"
        fi
    done
}

# Ends with 8 where no HTTPRoute splits the traffic.
read_routes() {
    find_routes "$FOLDER/routes"
    grep -q '^httproutes|' "$FOLDER/routes" ||
        die "$MISSING" "no rule of an HTTPRoute in namespace $NAMESPACE has $DEPLOYMENT and $CANARY among its backends; nothing was changed" \
            "the overlay needs the components gateway and canary (docs/deploy.md)"
    WEIGHT_NOW=$(awk -F '|' -v canary="$CANARY" '$5 == canary && $6 + 0 > most {most = $6 + 0} END {print most + 0}' "$FOLDER/routes")
}

# set_weights WEIGHT: in every rule that names both. The names are tested in the same step: a route that was changed
# meanwhile is refused by the API server, not half changed.
set_weights() {
    local route operations
    awk -F '|' '{print $1 ".gateway.networking.k8s.io/" $2}' "$FOLDER/routes" | sort -u > "$FOLDER/names"
    while IFS= read -r route <&3; do
        operations=$(awk -F '|' -v route="$route" -v canary="$CANARY" -v weight="$1" '
            $1 ".gateway.networking.k8s.io/" $2 == route {
                at = "/spec/rules/" $3 "/backendRefs/" $4
                printf "%s{\"op\":\"test\",\"path\":\"%s/name\",\"value\":\"%s\"},", (n++ ? "," : ""), at, $5
                printf "{\"op\":\"add\",\"path\":\"%s/weight\",\"value\":%d}", at, ($5 == canary ? weight : 100 - weight)
            }' "$FOLDER/routes")
        change patch "$route" --type=json --patch "[$operations]" 2> "$FOLDER/errors" ||
            die "$BROKEN" "the weights of $route cannot be set to $1: $(last_line)" "canary.sh abort $SERVICE"
    done 3< "$FOLDER/names"
    WEIGHT_NOW=$1
    say "weights: $DEPLOYMENT $((100 - $1)), $CANARY $1"
}

# Ends with 8 where the weights are not those that were set here: an apply, an abort, another start.
weights_untouched() {
    local now
    find_routes "$FOLDER/routes.now"
    now=$(awk -F '|' -v canary="$CANARY" -v wanted="$WEIGHT_NOW" '
        $6 != ($5 == canary ? wanted : 100 - wanted) {print $5 " has weight " $6; exit}
        END {if (!NR) print "none splits the traffic"}' "$FOLDER/routes.now")
    if [ -n "$now" ]; then somebody_else "the routes of $SERVICE: $now now"; fi
}

# --- start, promote, abort -------------------------------------------------------------------------------------------

start() {
    local image=$1 weight=$2 stable_hash=$D_HASH stable_image=$D_IMAGE
    NEW_HASH=''
    read_golden_rows "$D_HASH"
    find_model "$D_HASH"
    read_deployment "$CANARY"
    say "$DEPLOYMENT: $stable_image; $CANARY: $D_IMAGE, $D_REPLICAS pods, weight $WEIGHT_NOW"
    STATE="$CANARY is being started; its weight is $WEIGHT_NOW" NEXT="canary.sh abort $SERVICE, or the same again"
    if [ "$D_IMAGE" != "$image" ] || { [ -n "$DIGEST" ] && ! same_digest "$DIGEST" "$D_DIGEST"; }; then
        if [ "$WEIGHT_NOW" != 0 ]; then set_weights 0; fi
        change patch deployment "$CANARY" --type=strategic --patch "$(image_patch "$image" "$DIGEST")" 2> "$FOLDER/errors" ||
            die "$MISSING" "the image cannot be set: $(last_line)" "kubectl auth can-i patch deployments --namespace=$NAMESPACE"
        FRESH=1
    fi
    if [ "$D_REPLICAS" -lt "$REPLICAS" ]; then scale_canary "$REPLICAS"; fi
    if [ -n "$DRY_RUN" ]; then set_weights "$weight" && return 0; fi
    settle "$CANARY" "$TIMEOUT" || give_up "$LATE" "$image" "the canary is not ready: $WHY"
    untouched "$CANARY" '' "$image"
    NEW_HASH=$D_HASH
    check_pods "$NEW_HASH" "$DIGEST" "$OLD_ROWS" || give_up "$FAILED" "$image" "$WHY"
    untouched "$CANARY" "$NEW_HASH"
    set_weights "$weight"
    STATE="$CANARY has weight $weight and was not watched to the end" ALSO_UNTOUCHED=weights_untouched
    watch_new "$CANARY" "$NEW_HASH" '0 0 0 -' "$stable_hash" || give_up "$FAILED" "$image" "$WHY"
    untouched "$CANARY" "$NEW_HASH"
    weights_untouched
    keep "$CANARY" "$NEW_HASH"
    say "done: $CANARY runs $image, version $VERSION, with $weight % of the traffic"
    say "next: canary.sh start $SERVICE $image HIGHER, then canary.sh promote $SERVICE; canary.sh abort $SERVICE takes it away"
}

# give_up CODE IMAGE WHY: the stable version has never stopped serving.
give_up() {
    untouched "$CANARY" "$NEW_HASH" "$2"
    set_weights 0
    scale_canary 0
    die "$1" "the canary was taken away: $3. $DEPLOYMENT serves everything" "kubectl --namespace=$NAMESPACE get events; then a mended image"
}

promote() {
    local image digest stable_image=$D_IMAGE
    read_deployment "$CANARY"
    image=$D_IMAGE digest=$D_SERVED
    if [ -n "$1" ] && [ "$1" != "$image" ]; then die "$NOTHING" "the canary runs $image, not $1; nothing was changed" "canary.sh start $SERVICE $1 WEIGHT"; fi
    if [ "$D_REPLICAS" = 0 ] && [ "$WEIGHT_NOW" = 0 ]; then
        if [ "$image" = "$stable_image" ]; then say "$DEPLOYMENT runs $image already, and there is no canary: nothing to do" && return 0; fi
        die "$NOTHING" "there is no canary to promote; nothing was changed" "canary.sh start $SERVICE IMAGE WEIGHT"
    fi
    CANARY_IMAGE=$image AFTER_FAILURE=take_own_away
    read_deployment "$DEPLOYMENT"
    roll "$DEPLOYMENT" "$image" "${DIGEST:-$digest}"
    take_own_away
    say "next: rollback.sh $SERVICE goes back; write the tag into your overlay's images, or the next apply brings the old one"
}

abort() {
    read_deployment "$CANARY"
    if [ -n "$1" ] && [ "$1" != "$D_IMAGE" ]; then die "$NOTHING" "the canary runs $D_IMAGE, not $1; nothing was changed" "canary.sh abort $SERVICE"; fi
    if [ "$D_REPLICAS" = 0 ] && [ "$WEIGHT_NOW" = 0 ]; then say "there is no canary of $SERVICE: nothing to do" && return 0; fi
    take_away
    say "next: find out why; canary.sh start $SERVICE IMAGE WEIGHT begins anew"
}

take_away() {
    set_weights 0
    scale_canary 0
    say "done: $DEPLOYMENT serves everything, $CANARY has no pods"
}

# After a promotion, which takes its time: not the canary that somebody else has begun meanwhile.
take_own_away() {
    read_deployment "$CANARY"
    if [ "$D_IMAGE" = "$CANARY_IMAGE" ]; then take_away; else warn "somebody else has set $CANARY to $D_IMAGE meanwhile: left as it is"; fi
}

scale_canary() {
    change scale "deployment/$CANARY" "--replicas=$1" 2> "$FOLDER/errors" ||
        die "$BROKEN" "$CANARY cannot be scaled to $1: $(last_line)" "canary.sh abort $SERVICE; the right: patch deployments/scale"
}

main() {
    begin " --replicas --digest --watch --prometheus --max-errors --max-refused --max-p99 --least " "$@"
    local what=${ARGUMENTS[0]:-} count=${#ARGUMENTS[@]}
    case $what in
        start) [ "$count" = 4 ] || usage_error "start: wanted are SERVICE, IMAGE and WEIGHT" ;;
        promote | abort) [ "$count" -ge 2 ] && [ "$count" -le 4 ] || usage_error "$what: wanted is SERVICE" ;;
        *) usage_error "start, promote or abort?" ;;
    esac
    check_service "${ARGUMENTS[1]}"
    CANARY=$SERVICE-canary
    if [ "$count" -ge 3 ]; then check_image "${ARGUMENTS[2]}"; fi
    if [ "$count" = 4 ]; then
        whole WEIGHT "${ARGUMENTS[3]}" 1
        [ "${ARGUMENTS[3]}" -le 100 ] || usage_error "WEIGHT: 1 to 100"
    fi
    check_cluster
    read_deployment "$CANARY" "the overlay has no component canary"
    read_deployment "$DEPLOYMENT"
    read_routes
    if [ "$what" != abort ]; then rollable "$DEPLOYMENT" && check_prometheus && choose_ask; fi
    "$what" "${ARGUMENTS[2]:-}" "${ARGUMENTS[3]:-}"
}

main "$@"
