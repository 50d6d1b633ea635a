# shellcheck shell=bash
# Rolling a Deployment to an image, and back by itself when that is worse.
#
#     roll        image set -> pods ready -> every pod asked -> watched -> kept; after any of these: bring_back
#     settle      wait until the rollout is through
#     untouched   is it still at what was set here? Otherwise somebody else is changing it, and that is left alone
#     watch_new   readiness, restarts, errors and refusals all the time, p99 at the end, beside the old version's
#     undo_to     kubectl rollout undo, with a mark: going back twice does not go forward again

# roll DEPLOYMENT IMAGE DIGEST: D_* are those of the Deployment.
roll() {
    OLD_HASH=$D_HASH OLD_DIGEST=${D_SERVED:-$D_DIGEST} OLD_ROWS='' NEW_HASH='' FIGURES='0 0 0 -'
    say "$1: revision $D_REVISION, $D_IMAGE${D_VERSION:+, version $D_VERSION}, $D_REPLICAS pods"
    if is_set "$2" "$3"; then
        if [ -n "$DRY_RUN" ]; then say "the image is set already: it would be checked" && return 0; fi
        if ! begun_here "$2"; then stands "$1" "$2" "$3" && return 0; fi
        say "the image is set already, but it was not checked to the end: going on with it"
        OLD_HASH=$(previous_hash "$1") OLD_DIGEST=''
    elif [ -n "$DRY_RUN" ]; then
        change patch deployment "$1" --type=strategic --patch "$(image_patch "$2" "$3")"
        say "then: wait up to $TIMEOUT s, ask every new pod, watch for $WATCH s, go back to revision $D_REVISION if it is worse"
        return 0
    else
        read_golden_rows "$D_HASH"
        find_model "$D_HASH"
        measure old "$1" "$D_HASH" 300
        untouched "$1" "$D_HASH" "$D_IMAGE"
        set_image "$1" "$2" "$3"
    fi
    see_through "$1" "$2" "$3" "$FIGURES"
    say "done: $1 runs $2, version $VERSION, revision $D_REVISION"
}

is_set() { [ "$D_IMAGE" = "$1" ] && { [ -z "$2" ] || same_digest "$2" "${D_DIGEST:-$D_SERVED}"; }; }

# begun_here IMAGE: was it set by these scripts, and not seen to its end?
begun_here() {
    case $D_SERVED$D_CAUSE in \"rollout.sh\ "$1"* | \"canary.sh\ "$1"*) return 0 ;; esac
    return 1
}

# stands DEPLOYMENT IMAGE DIGEST: what has served for long, or was set by somebody else, is asked and never rolled back.
stands() {
    local well=1
    settle "$1" "$TIMEOUT" || well=''
    untouched "$1" '' "$2"
    NEW_HASH=$D_HASH
    if [ -n "$well" ]; then check_pods "$NEW_HASH" "$3" || well=''; fi
    untouched "$1" "$NEW_HASH"
    if [ -z "$well" ]; then
        die "$BROKEN" "$1 runs $2 already, but: $WHY; nothing was changed" "kubectl --namespace=$NAMESPACE describe deployment $1; rollback.sh $SERVICE"
    fi
    keep "$1" "$D_HASH"
    say "$1 runs $2 already: nothing to do"
}

set_image() {
    STATE="the image of $1 is being set to $2; before it was $D_IMAGE (revision $D_REVISION)"
    change patch deployment "$1" --type=strategic --patch "$(image_patch "$2" "$3")" 2> "$FOLDER/errors" ||
        die "$MISSING" "the image cannot be set: $(last_line)" "kubectl auth can-i patch deployments --namespace=$NAMESPACE"
    FRESH=1
    say "image set: $2"
}

# see_through DEPLOYMENT IMAGE DIGEST FIGURES of the old version.
see_through() {
    STATE="$1 has image $2, not checked yet; old pods serve until new ones are ready"
    NEXT="the same again goes on; rollback.sh $SERVICE goes back"
    settle "$1" "$TIMEOUT" || bring_back "$LATE" "the new pods are not ready: $WHY" "$1" "$2"
    untouched "$1" '' "$2"
    NEW_HASH=$D_HASH
    check_pods "$NEW_HASH" "$3" "$OLD_ROWS" || bring_back "$FAILED" "$WHY" "$1" "$2"
    STATE="$1 has image $2 on every pod, version $VERSION; it was not watched to the end"
    watch_new "$1" "$NEW_HASH" "$4" || bring_back "$FAILED" "$WHY" "$1" "$2"
    untouched "$1" "$NEW_HASH"
    keep "$1" "$NEW_HASH"
}

# untouched DEPLOYMENT HASH [IMAGE]: reads it anew, and ends with 8 where it is at another revision or image by now, or has
# no pods. HASH may be empty: before the controller has seen a change, only the image is known.
untouched() {
    read_deployment "$1"
    if [ "$D_HASH" = "${2:-$D_HASH}" ] && [ "$D_IMAGE" = "${3:-$D_IMAGE}" ] && [ "$D_REPLICAS" != 0 ]; then return 0; fi
    somebody_else "$1: it is at revision $D_REVISION now, $D_IMAGE, $D_REPLICAS pods"
}

somebody_else() {
    die "$MISSING" "somebody else is changing $1; left as it is" "find out who it is; the same again when that is done"
}

# The image, why, and what is expected of the pods, in one step. What is known of the old image goes.
image_patch() {
    local tag=${1##*/} label=null
    tag=${tag%%@*}
    case $tag in *:*) tag=${tag#*:} && [[ $tag =~ ^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$ ]] && label="\"$tag\"" ;; esac
    printf '{"metadata":{"annotations":{"kubernetes.io/change-cause":"%s %s","modelyard.dev/served":null,"modelyard.dev/rolled-back":null}},' "${0##*/}" "$1"
    printf '"spec":{"template":{"metadata":{"labels":{"app.kubernetes.io/version":%s},"annotations":{"modelyard.dev/model-digest":%s}},' "$label" "$(quoted_or_null "${2:+$2 $1}")"
    printf '"spec":{"containers":[{"name":"server","image":"%s"}]}}}}' "$1"
}

quoted_or_null() { if [ -n "$1" ]; then printf '"%s"' "$1"; else printf null; fi; }

previous_hash() { revisions "$1" | awk -F '|' -v now="$D_HASH" '$2 != now {hash = $2} END {print hash}'; }

# keep DEPLOYMENT HASH: what was seen, for the history and for a later way back. It changes no pod.
keep() {
    if [ "$SERVED" = "$D_SERVED" ]; then return 0; fi
    change annotate deployment "$1" --overwrite "modelyard.dev/served=$2 ${VERSION:-unknown} $SERVED" 2> "$FOLDER/errors" ||
        warn "what was seen could not be noted on $1: $(last_line)"
}

# settle DEPLOYMENT SECONDS: 0 when every pod is new and available. Otherwise WHY. A connection that breaks is tried again.
settle() {
    local end=$((SECONDS + $2)) left
    while left=$((end - SECONDS)) && [ "$left" -gt 0 ]; do
        if interruptible kubectl "${GLOBAL[@]}" rollout status "deployment/$1" "--timeout=${left}s" > "$FOLDER/status" 2> "$FOLDER/errors"; then return 0; fi
        case $(last_line) in
            *"progress deadline"*) break ;;
            *"timed out"*) continue ;;
        esac
        if [ $((end - SECONDS)) -gt 2 ]; then pause 2; fi
    done
    answers_at_all || die "$NO_CLUSTER" "the cluster does not answer any more: $(last_line)${STATE:+; $STATE}" "${NEXT:-kubectl cluster-info}"
    WHY="$(tail -n 1 "$FOLDER/status" | cut -c 1-200)$(held_up "$1")"
    return 1
}

# What the pods of the current revision wait for, as far as Kubernetes says it.
held_up() {
    local before=$D_HASH text
    read_deployment "$1"
    text=$(pods "$D_HASH" | awk -F '|' '$2 != "True" && $4 != "" {printf "; %s: %s", $1, $4}' | cut -c 1-300)
    D_HASH=$before
    printf '%s' "$text"
}

# watch_new DEPLOYMENT HASH FIGURES [HASH]: FIGURES are the old version's; HASH is that of one that runs beside the new one
# and is measured in the same time instead.
watch_new() {
    local end began left old=$3
    if [ "$WATCH" = 0 ]; then return 0; fi
    if [ -z "$MODEL" ]; then find_model "$2"; fi
    snapshot "$2" "$FOLDER/new/before"
    if [ -n "${4:-}" ]; then snapshot "$4" "$FOLDER/old/before"; fi
    pods "$2" > "$FOLDER/first"
    say "watching for $WATCH s"
    UNKNOWN='' FIGURES='0 0 0 -' began=$SECONDS end=$((SECONDS + WATCH))
    while left=$((end - SECONDS)) && [ "$left" -gt 0 ]; do
        pause $((left < 5 ? left : 5))
        untouched "$1" "$2"
        if [ -n "${ALSO_UNTOUCHED:-}" ]; then "$ALSO_UNTOUCHED"; fi
        look_at_pods "$2" || return 1
        if [ -n "${4:-}" ]; then measure old "$DEPLOYMENT" "$4" "$(window "$began")" && old=$FIGURES; fi
        measure new "$1" "$2" "$(window "$began")"
        WHY=$(worse "$old" "$FIGURES" $((SECONDS >= end)))
        if [ -n "$WHY" ]; then return 1; fi
    done
    if [ -n "$UNKNOWN" ]; then warn "Prometheus did not answer, or knew nothing of these pods: their own figures were taken then"; fi
    say "$(tell_figures "$old" "$FIGURES")"
}

# Prometheus needs two scrapes to see anything grow.
window() { say $((SECONDS - $1 < 30 ? 30 : SECONDS - $1)); }

# The pods that were there when the watch began: restarted, or not ready twice in a row? Nor may none at all be ready.
look_at_pods() {
    local name ready restarts held first any=''
    pods "$1" > "$FOLDER/list"
    if ! [ -s "$FOLDER/list" ]; then WHY="there is no pod of it any more" && return 1; fi
    : > "$FOLDER/unready.now"
    while IFS='|' read -r name ready restarts held; do
        if [ "$ready" = True ]; then any=1; fi
        first=$(awk -F '|' -v name="$name" '$1 == name {print $3}' "$FOLDER/first")
        [ -n "$first" ] || continue
        if [ "$restarts" -gt "$first" ]; then WHY="pod $name was restarted:$held" && return 1; fi
        if [ "$ready" = True ]; then continue; fi
        if grep -qx "$name" "$FOLDER/unready" 2> /dev/null; then WHY="pod $name is not ready any more" && return 1; fi
        say "$name" >> "$FOLDER/unready.now"
    done < "$FOLDER/list"
    if [ -z "$any" ]; then
        if grep -qx none "$FOLDER/unready" 2> /dev/null; then WHY="no pod of it is ready any more" && return 1; fi
        say none >> "$FOLDER/unready.now"
    fi
    mv "$FOLDER/unready.now" "$FOLDER/unready"
}

# worse OLD NEW FINAL: why the new figures are worse; nothing when they are not, or when there are too few.
worse() {
    awk -v old="$1" -v new="$2" -v final="$3" -v errors="$MAX_ERRORS" -v refused="$MAX_REFUSED" -v factor="$MAX_P99" -v least="$LEAST" '
        function share(part, all) { return all > 0 ? part / all : 0 }
        BEGIN {
            split(old, o, " "); split(new, n, " ")
            if (n[1] < least) exit
            if (share(n[2], n[1]) > share(o[2], o[1]) + errors)
                printf "%.1f %% of %d requests failed, %.1f %% of the old version'\''s", 100 * share(n[2], n[1]), n[1], 100 * share(o[2], o[1])
            else if (share(n[3], n[1]) > share(o[3], o[1]) + refused)
                printf "%.1f %% of %d requests were refused as wrong, %.1f %% by the old version", 100 * share(n[3], n[1]), n[1], 100 * share(o[3], o[1])
            else if (final && o[1] >= least && o[4] != "-" && n[4] != "-" && n[4] > factor * o[4] && n[4] > o[4] + 0.005)
                printf "p99 is %.3g s, the old version'\''s %.3g s", n[4], o[4]
        }'
}

tell_figures() {
    awk -v old="$1" -v new="$2" -v least="$LEAST" 'BEGIN {
        split(old, o, " "); split(new, n, " ")
        printf "new: %d requests, %d failed, %d refused, p99 %s s; old: %d, %d, %d, %s s\n", n[1], n[2], n[3], n[4], o[1], o[2], o[3], o[4]
        if (n[1] < least) print "too few requests to judge errors and p99 by: readiness, restarts and answers were looked at"
    }'
}

# bring_back CODE WHY DEPLOYMENT IMAGE: ends the script. Back to OLD_HASH, which served OLD_DIGEST.
bring_back() {
    local revision hash image rest why=$2 well=1
    untouched "$3" "$NEW_HASH" "$4"
    say "worse: $2"
    IFS='|' read -r revision hash image rest <<< "$(revision_of "$OLD_HASH" "$3")"
    if [ -z "$OLD_HASH" ] || [ -z "$revision" ]; then
        die "$BROKEN" "$2; there is no earlier revision to go back to: $3 keeps $4" "rollout.sh $SERVICE with a mended image"
    fi
    undo_to "$3" "$revision" "$OLD_HASH" "$2"
    FRESH=''
    if [ -n "${AFTER_FAILURE:-}" ]; then "$AFTER_FAILURE"; fi
    settle "$3" "$TIMEOUT" || well=''
    untouched "$3" "${well:+$OLD_HASH}" "$image"
    if [ -n "$well" ]; then check_pods "$OLD_HASH" "$OLD_DIGEST" || well=''; fi
    untouched "$3" "${well:+$OLD_HASH}" "$image"
    if [ -z "$well" ]; then
        die "$BROKEN" "$4 was worse ($why), and after going back to revision $revision: $WHY" "kubectl --namespace=$NAMESPACE describe deployment $3"
    fi
    keep "$3" "$OLD_HASH"
    die "$1" "$4 was rolled back: $why. $3 runs $D_IMAGE, version $VERSION, again" "kubectl --namespace=$NAMESPACE get events; then a mended image"
}

# undo_to DEPLOYMENT REVISION HASH WHY. The mark holds for as long as this very pair of revisions stands.
undo_to() {
    local from=$D_REVISION from_hash=$D_HASH why
    why=$(printf '%s' "back from revision $from ($D_IMAGE): $4" | tr '\n' ' ' | cut -c 1-250)
    STATE="going back from revision $from to revision $2" NEXT="rollback.sh $SERVICE --to-revision $2"
    change rollout undo "deployment/$1" "--to-revision=$2" 2> "$FOLDER/errors" || die "$BROKEN" "kubectl rollout undo failed: $(last_line)" "rollback.sh $SERVICE --to-revision $2"
    change annotate deployment "$1" --overwrite "modelyard.dev/rolled-back=$from_hash to $3" "kubernetes.io/change-cause=$why" \
        2> "$FOLDER/errors" || warn "the reason could not be noted on $1: $(last_line)"
}
