# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034 # variables of kubectl's templates; variables that the scripts read
# What the pods of one revision say: which version they serve, whether they answer, how many requests went wrong.
#
# Two ways to ask, chosen by what you may do. `exec` runs tell.py inside the pod: the answer comes over HTTP on the pod's
# own loopback address, so that no network policy and no firewall between API server and pods stands in between, keys
# stay in the pod, and the golden rows that lie in the image can be asked. It needs `create` on pods/exec. `proxy` is
# `kubectl get --raw .../proxy/metrics`: it needs only `get` on pods/proxy, but the API server must be let through to port
# 3000, and it cannot send a key: only the open path /metrics is read.

readonly PODS_TEMPLATE='{{range .items}}{{.metadata.name}}|{{if .metadata.deletionTimestamp}}leaving{{end}}|{{.status.phase}}|{{range .status.conditions}}{{if eq .type "Ready"}}{{.status}}{{end}}{{end}}|{{range .status.containerStatuses}}{{if eq .name "server"}}{{.restartCount}}{{end}}{{end}}|{{range .status.containerStatuses}}{{with .state}}{{with .waiting}}{{.reason}} {{with .message}}{{printf "%q" .}}{{end}}{{end}}{{end}}{{with .lastState}}{{with .terminated}} ended with {{.exitCode}} {{.reason}}{{end}}{{end}}{{end}}
{{end}}'

# pods HASH: name|ready|restarts|what holds it up. Old pods that still drain are listed by Kubernetes, and left out here.
pods() {
    local text
    text=$(look get pods -l "app.kubernetes.io/name=$SERVICE,pod-template-hash=$1" -o "go-template=$PODS_TEMPLATE" 2> "$FOLDER/errors") || unreadable "pods"
    awk -F '|' '$1 != "" && $2 == "" && $3 != "Failed" && $3 != "Succeeded" {print $1 "|" $4 "|" ($5 == "" ? 0 : $5) "|" $6}' <<< "$text"
}

choose_ask() {
    if [ "$ASK" = auto ]; then
        # What cannot be found out is tried.
        if look auth can-i create pods --subresource=exec --quiet 2> "$FOLDER/errors" || [ -s "$FOLDER/errors" ]; then
            ASK='exec'
        elif look auth can-i get pods --subresource=proxy --quiet 2> /dev/null; then
            ASK=proxy
        else
            die "$MISSING" "pods cannot be asked: you may neither create pods/exec nor get pods/proxy; nothing was changed" \
                "docs/deploy.md has the rights that these scripts need"
        fi
    fi
    if [ "$ASK" = proxy ]; then say "pods are asked through the API server: golden rows are not compared"; fi
}

# tell POD WHAT [ROWS] > FILE
tell() {
    if [ "$ASK" = exec ]; then
        { cat "$HERE/lib/tell.py" && printf '\nmain("%s", "%s")\n' "$2" "${3:-}"; } > "$FOLDER/program"
        INPUT=$FOLDER/program
        interruptible kubectl "${GLOBAL[@]}" exec -i "$1" -c server -- python3 - 2> "$FOLDER/errors"
        local code=$?
        INPUT=''
        return "$code"
    fi
    look get --raw "/api/v1/namespaces/$NAMESPACE/pods/$1:3000/proxy/metrics" 2> "$FOLDER/errors" > "$FOLDER/exposition" || return 1
    case $2 in
        metrics) cat "$FOLDER/exposition" ;;
        answers) awk -v service="$SERVICE" -v what=answers -f "$HERE/lib/figures.awk" "$FOLDER/exposition" ;;
    esac
}

# check_pods HASH DIGEST [ROWS]: does every pod answer, all with one version, of this digest where one is expected, its
# golden rows rightly, and another version's ROWS in the same form? Sets VERSION and SERVED, or WHY and returns 1. FRESH:
# these pods are new, and must not have been restarted.
check_pods() {
    local name ready restarts held waits end=$((SECONDS + TIMEOUT))
    VERSION='' SERVED='' WHY=''
    : > "$FOLDER/checked"
    while waits=''; do
        pods "$1" > "$FOLDER/list"
        while IFS='|' read -r name ready restarts held <&3; do
            if grep -qx "$name" "$FOLDER/checked"; then continue; fi
            if [ "$ready" != True ]; then waits=$name && continue; fi # an autoscaler has just made it
            if [ -n "$FRESH" ] && [ "$restarts" != 0 ]; then WHY="pod $name was restarted $restarts times:$held" && return 1; fi
            if check_pod "$name" "$2" "${3:-}"; then
                say "$name" >> "$FOLDER/checked"
            elif pods "$1" | grep -q "^$name|"; then # otherwise it is gone meanwhile: an autoscaler took it
                return 1
            fi
        done 3< "$FOLDER/list"
        if [ -z "$waits" ]; then break; fi
        if [ "$SECONDS" -ge "$end" ]; then WHY="pod $waits is not ready" && return 1; fi
        pause 2
    done
    if ! [ -s "$FOLDER/checked" ]; then WHY="there is no pod of it" && return 1; fi
    say "checked: $(grep -c . "$FOLDER/checked") pods are ready and answer with version ${VERSION:-unknown}, digest ${SERVED:0:12}"
}

# check_pod NAME DIGEST ROWS
check_pod() {
    local key value version='' digest='' ready='' golden='' others=''
    if ! ask_often "$1" answers "$3"; then WHY="pod $1 does not answer: $(last_line)" && return 1; fi
    while IFS='=' read -r key value; do
        case $key in
            version) version=$value ;;
            digest) digest=$value ;;
            ready) ready=$value ;;
            golden) golden=$value ;;
            others) others=$value ;;
        esac
    done < "$FOLDER/answer"
    if [ "$ready" != yes ]; then WHY="pod $1 says that it is not ready" && return 1; fi
    if [ -n "$2" ] && ! same_digest "$2" "$digest"; then
        WHY="pod $1 serves version ${version:-unknown} with digest ${digest:-unknown}, expected is $2" && return 1
    fi
    if [ -n "$VERSION$SERVED" ] && [ "$VERSION $SERVED" != "$version $digest" ]; then
        WHY="pod $1 serves version $version (${digest:0:12}), another pod version $VERSION (${SERVED:0:12})" && return 1
    fi
    case $golden in agree* | none*) ;; *) WHY="pod $1 answers its golden rows wrongly: $golden" && return 1 ;; esac
    case $others in agree* | none*) ;; *) WHY="pod $1 does not answer what the old version answers: $others" && return 1 ;; esac
    VERSION=$version SERVED=$digest
}

# A pod may be asked in the very moment in which it cannot; three times is no moment.
ask_often() {
    local try
    for try in 1 2 3; do
        if tell "$1" "$2" "$3" > "$FOLDER/answer"; then return 0; fi
        if [ "$try" -lt 3 ]; then pause 2; fi
    done
    return 1
}

# Metrics show twelve digits, manifests all: the shorter one decides.
same_digest() {
    [ -n "$2" ] || return 1
    [[ $1 == "$2"* || $2 == "$1"* ]]
}

# read_golden_rows HASH: OLD_ROWS, those of the first pod that has some, as one word; none is no fault.
read_golden_rows() {
    local name ready rest
    OLD_ROWS=''
    if [ "$ASK" != exec ] || [ -n "$DRY_RUN" ]; then return 0; fi
    pods "$1" > "$FOLDER/list"
    while IFS='|' read -r name ready rest <&3; do
        if [ "$ready" = True ] && tell "$name" rows > "$FOLDER/rows"; then
            OLD_ROWS=$(tr -cd 'A-Za-z0-9+/=' < "$FOLDER/rows")
            return 0
        fi
    done 3< "$FOLDER/list"
}

# snapshot HASH FOLDER: the metrics of every pod, a file for each.
snapshot() {
    local name rest
    rm -rf "$2" && mkdir -p "$2"
    pods "$1" > "$FOLDER/list"
    while IFS='|' read -r name rest <&3; do
        tell "$name" metrics > "$2/$name" || rm -f "$2/$name"
    done 3< "$FOLDER/list"
}

# measure SIDE DEPLOYMENT HASH SECONDS: FIGURES, from Prometheus where it is given and knows these pods.
measure() {
    if [ -n "$PROMETHEUS" ]; then
        if prometheus_figures "$2" "$3" "$4"; then return 0; fi
        UNKNOWN=1
    fi
    figures "$1" "$3"
}

# figures SIDE HASH: `requests failed refused p99` of these pods, since $FOLDER/SIDE/before was taken where it was.
figures() {
    local file files=()
    snapshot "$2" "$FOLDER/$1/now"
    for file in "$FOLDER/$1/now"/*; do
        [ -f "$file" ] || continue
        files+=("$file")
        if [ -f "$FOLDER/$1/before/${file##*/}" ]; then files+=("$FOLDER/$1/before/${file##*/}"); fi
    done
    if [ ${#files[@]} = 0 ]; then FIGURES='0 0 0 -' && return 0; fi
    FIGURES=$(awk -v service="$SERVICE" -f "$HERE/lib/figures.awk" "${files[@]}")
}

# --- Prometheus ------------------------------------------------------------------------------------------------------

check_prometheus() {
    [ -n "$PROMETHEUS" ] || return 0
    command -v curl > /dev/null || die "$MISSING" "--prometheus needs curl; nothing was changed"
    ask_prometheus 'vector(1)' || die "$MISSING" "Prometheus at $PROMETHEUS does not answer: $(last_line); nothing was changed" \
        "without --prometheus the pods' own figures are taken"
}

# find_model HASH: MODEL, as it is called in metrics: the service's name has no underscores.
find_model() {
    local name ready rest
    MODEL=''
    [ -n "$PROMETHEUS" ] && [ -z "$DRY_RUN" ] || return 0
    pods "$1" > "$FOLDER/list"
    while IFS='|' read -r name ready rest <&3; do
        if [ "$ready" = True ] && tell "$name" answers > "$FOLDER/answer"; then
            MODEL=$(sed -n 's/^model=//p' "$FOLDER/answer")
            return 0
        fi
    done 3< "$FOLDER/list"
}

# ask_prometheus QUERY: RESULT, empty where it has nothing.
ask_prometheus() {
    curl -sS --fail --max-time 15 --get --data-urlencode "query=$1" "$PROMETHEUS/api/v1/query" > "$FOLDER/result" 2> "$FOLDER/errors" || return 1
    grep -q '"status": *"success"' "$FOLDER/result" || return 1
    RESULT=$(sed -n 's/.*"value": *\[[^,]*, *"\([^"]*\)"\].*/\1/p' "$FOLDER/result")
}

# prometheus_figures DEPLOYMENT HASH SECONDS: as `figures`, over the last seconds. Returns 1 when it cannot be asked or
# knows nothing of these pods.
prometheus_figures() {
    local of requests='' bad='' refused='' p99=''
    [ -n "$MODEL" ] || return 1
    of="namespace=\"$NAMESPACE\",pod=~\"$1-$2-.*\",model=\"$MODEL\",protocol!=\"ensemble\""
    ask_prometheus "sum(increase(modelyard_requests_total{$of,outcome!=\"cancelled\"}[${3}s]))" && requests=$RESULT || return 1
    ask_prometheus "sum(increase(modelyard_requests_total{$of,outcome=~\"error|timeout|shed\"}[${3}s]))" && bad=$RESULT || return 1
    ask_prometheus "sum(increase(modelyard_requests_total{$of,outcome=\"client_error\"}[${3}s]))" && refused=$RESULT || return 1
    ask_prometheus "histogram_quantile(0.99,sum by (le)(increase(modelyard_request_duration_seconds_bucket{$of}[${3}s])))" && p99=$RESULT || return 1
    [ -n "$requests" ] || return 1
    case $p99 in '' | NaN) p99=- ;; esac
    FIGURES="$requests ${bad:-0} ${refused:-0} $p99"
}
