# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034 # variables of kubectl's templates; variables that the scripts read
# What rollout.sh, rollback.sh and canary.sh share: exit codes, options, which cluster, what stands there.
#
#     begin "$@"          options -> cluster, context, namespace, all checked before anything else
#     read_deployment     a Deployment as D_* variables
#     revisions           its history, one line for each
#     change              the only way in which anything is changed; with --dry-run it says so and does nothing
#
# bash 3.2 (macOS), kubectl and what every Unix has (TOOLS) are enough; --prometheus needs curl.

export LC_ALL=C # a decimal point everywhere
readonly TOOLS='awk cat cut dirname grep mkdir mktemp mv rm sed sleep sort tail tr'

readonly DONE=0 FAILED=1 USAGE=2 NOTHING=3 LATE=4 BROKEN=5 NO_CLUSTER=6 WRONG_CONTEXT=7 MISSING=8 INTERRUPTED=130

CONTEXT=${MODELYARD_CONTEXT:-} NAMESPACE=${MODELYARD_NAMESPACE:-} TIMEOUT=600 DRY_RUN='' YES=''
DIGEST='' WATCH=60 PROMETHEUS='' ASK=auto MAX_ERRORS=0.01 MAX_REFUSED=0.05 MAX_P99=1.5 LEAST=20
REVISION='' REPLICAS=1 STATE='' NEXT='' FRESH='' MODEL='' CHILD='' INPUT='' FOLDER='' ARGUMENTS=() GLOBAL=()

exit_codes() {
    cat << 'TABLE'
  0    done, or nothing was left to do
  1    the new version failed or was worse; the old one was brought back and serves
  2    wrong usage; nothing was changed
  3    nothing to go back to, or no canary to promote; nothing was changed
  4    not ready in time; rollout.sh and canary.sh brought the old version back, rollback.sh left the undo under way
  5    what should serve now is not ready, or is another version than expected: somebody has to look
  6    no cluster: kubectl is missing, or the API server does not answer or does not know you
  7    wrong context; nothing was changed
  8    something needed is not there (Deployment, HTTPRoute, right, curl, Prometheus), or somebody else is changing it
  130  interrupted; what it said last is how things stand
TABLE
}

common_options() {
    cat << 'TABLE'
  --context NAME      the kubectl context that must be the current one (or MODELYARD_CONTEXT); another is refused
  --namespace NAME    where the service stands (or MODELYARD_NAMESPACE); otherwise that of the context
  --timeout SECONDS   how long pods may take to be ready: 600
  --ask HOW           how pods are asked: exec (kubectl exec, needs create on pods/exec), proxy (through the API server,
                      needs get on pods/proxy; golden rows are left out), auto: exec if you may, otherwise proxy
  --dry-run           look, say what would be done, change nothing
  --yes               do not ask, in a terminal, whether this is the right cluster
  --help              this text
TABLE
}

watch_options() {
    cat << 'TABLE'
  --watch SECONDS     how long the new version is watched: 60; 0: not at all
  --prometheus URL    take errors and p99 from there instead of the pods' own /metrics
  --max-errors SHARE  of requests that may fail beyond the old version's share: 0.01
  --max-refused SHARE of requests that may be refused as wrong (4xx) beyond the old version's share: 0.05
  --max-p99 FACTOR    how much slower than the old version's p99 it may be: 1.5 (and 5 ms)
  --least REQUESTS    with fewer, errors and p99 are not judged: 20
TABLE
}

# That nobody reads any more is no reason to leave the work half done (see `begin` for SIGPIPE).
say() { printf '%s\n' "$*" 2> /dev/null || true; }
warn() { say "warning: $*" >&2; }

# die CODE WHAT [NEXT]: one line on stderr, and what to do next.
die() {
    say "error: $2" >&2
    if [ $# -gt 2 ]; then say "next: $3" >&2; fi
    exit "$1"
}

usage_error() { die "$USAGE" "$1" "${0##*/} --help"; }

# --- options ---------------------------------------------------------------------------------------------------------

begin() {
    local tool
    parse "$@"
    for tool in $TOOLS; do
        command -v "$tool" > /dev/null || die "$MISSING" "$tool is not on PATH; nothing was changed"
    done
    FOLDER=$(mktemp -d 2> /dev/null) || die "$MISSING" "no folder can be made in ${TMPDIR:-/tmp}; nothing was changed" "set TMPDIR to a folder that you may write in"
    trap '' PIPE
    trap 'stop_child; rm -rf "$FOLDER"' EXIT
    exec 9>&2 # a signal may come while the output of a function goes into a file
    trap interrupted INT TERM HUP
}

# parse " OPTION OPTION " ARGUMENT...: the first names the options that this script has beside the common ones.
parse() {
    local own=$1 name value
    shift
    while [ $# -gt 0 ]; do
        case $1 in
            -h | --help) help && exit "$DONE" ;;
            --dry-run) DRY_RUN=1 && shift && continue ;;
            --yes) YES=1 && shift && continue ;;
            --*=*) name=${1%%=*} value=${1#*=} && shift ;;
            --*)
                name=$1
                [ $# -gt 1 ] || usage_error "$name: no such option, or its value is missing"
                value=$2 && shift 2
                ;;
            *) ARGUMENTS+=("$1") && shift && continue ;;
        esac
        case " --context --namespace --timeout --ask $own " in
            *" $name "*) option "$name" "$value" ;;
            *) usage_error "$name: no such option" ;;
        esac
    done
}

option() {
    case $1 in
        --context) CONTEXT=$2 && [ -n "$2" ] || usage_error "--context: the name is empty" ;;
        --namespace) NAMESPACE=$2 && [[ $2 =~ ^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$ ]] || usage_error "--namespace: '$2' is no name" ;;
        --timeout) TIMEOUT=$2 && whole "$1" "$2" 1 ;;
        --ask) ASK=$2 && [[ $2 =~ ^(auto|exec|proxy)$ ]] || usage_error "--ask: exec, proxy or auto" ;;
        --digest) DIGEST=${2#sha256:} && [[ $DIGEST =~ ^[0-9a-f]{12,64}$ ]] || usage_error "--digest: 12 to 64 hex digits (modelyard inspect)" ;;
        --watch) WATCH=$2 && whole "$1" "$2" 0 ;;
        --prometheus) PROMETHEUS=${2%/} && [[ $2 =~ ^https?://[^[:space:]]+$ ]] || usage_error "--prometheus: http://... or https://..." ;;
        --max-errors) MAX_ERRORS=$2 && number "$1" "$2" ;;
        --max-refused) MAX_REFUSED=$2 && number "$1" "$2" ;;
        --max-p99) MAX_P99=$2 && number "$1" "$2" ;;
        --least) LEAST=$2 && whole "$1" "$2" 1 ;;
        --to-revision) REVISION=$2 && whole "$1" "$2" 1 ;;
        --replicas) REPLICAS=$2 && whole "$1" "$2" 1 ;;
        *) usage_error "$1: no such option" ;;
    esac
}

whole() {
    if ! [[ $2 =~ ^(0|[1-9][0-9]{0,6})$ ]] || [ "$2" -lt "$3" ]; then usage_error "$1: '$2' is no whole number from $3 on"; fi
}
number() { [[ $2 =~ ^[0-9]{1,6}(\.[0-9]{1,6})?$ ]] || usage_error "$1: '$2' is no number"; }

# The service as it is called in Kubernetes: next_item is next-item there. Everything else that comes later is built on it.
check_service() {
    SERVICE=${1//_/-}
    [[ $SERVICE =~ ^[a-z]([-a-z0-9]{0,52}[a-z0-9])?$ ]] || usage_error "'$1' is no name of a service"
    DEPLOYMENT=$SERVICE-server
}

check_image() {
    [[ $1 =~ ^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,254}$ ]] || usage_error "'$1' is no name of an image"
}

# --- the cluster -----------------------------------------------------------------------------------------------------

# GLOBAL is set once the context and the namespace are known.
look() { kubectl "${GLOBAL[@]}" --request-timeout=20s "$@"; }

change() {
    if [ -n "$DRY_RUN" ]; then
        say "would run: kubectl --namespace=$NAMESPACE $*"
    else
        look "$@" > /dev/null
    fi
}

# Which cluster this is, and whether it is the right one. From here on every call names the context: another terminal
# may change the current one.
check_cluster() {
    local expected=$CONTEXT current server='' space=''
    if [ -n "$NAMESPACE" ]; then option --namespace "$NAMESPACE"; fi # it may come from the environment
    command -v kubectl > /dev/null || die "$NO_CLUSTER" "kubectl is not installed" "https://kubernetes.io/docs/tasks/tools/"
    current=$(kubectl config current-context 2> /dev/null) || current=''
    if [ -n "$expected" ] && [ "$expected" != "$current" ]; then
        die "$WRONG_CONTEXT" "the current context is '${current:-none}', expected is '$expected'; nothing was changed" \
            "kubectl config use-context '$expected'"
    fi
    CONTEXT=$current
    read -r server space <<< "$(kubectl config view --minify -o 'jsonpath={.clusters[0].cluster.server} {..namespace}' 2> /dev/null)" || true
    NAMESPACE=${NAMESPACE:-${space:-default}}
    GLOBAL=("--namespace=$NAMESPACE")
    [ -z "$CONTEXT" ] || GLOBAL+=("--context=$CONTEXT")
    say "cluster: ${CONTEXT:-no context} (${server:-as kubectl finds it}), namespace $NAMESPACE"
    answers_at_all || die "$NO_CLUSTER" "the cluster does not answer: $(last_line); nothing was changed" "kubectl cluster-info"
    [ -n "$expected$YES$DRY_RUN" ] || ! [ -t 0 ] || confirm
}

answers_at_all() { look get --raw /version > /dev/null 2> "$FOLDER/errors"; }
last_line() { tail -n 1 "$FOLDER/errors" 2> /dev/null | cut -c 1-300; }

confirm() {
    local answer=''
    read -r -p "Is this the right cluster? (yes/no) " answer || true
    [ "$answer" = yes ] || die "$WRONG_CONTEXT" "not confirmed; nothing was changed" "--context NAME says which one is meant"
}

# --- what stands there -----------------------------------------------------------------------------------------------

readonly DEPLOYMENT_TEMPLATE='{{$a := .metadata.annotations}}{{range $k, $v := .spec.selector.matchLabels}}{{$k}}={{$v}},{{end}}
{{range .spec.template.spec.containers}}{{if eq .name "server"}}{{.image}}{{end}}{{end}}
{{.spec.replicas}}
{{if .spec.paused}}paused{{end}}
{{with $a}}{{with index . "deployment.kubernetes.io/revision"}}{{.}}{{end}}{{end}}
{{with $a}}{{with index . "modelyard.dev/rolled-back"}}{{.}}{{end}}{{end}}
'

# read_deployment NAME [WHY_NOT]: D_SELECTOR D_IMAGE D_REPLICAS D_PAUSED D_REVISION D_MARK, and of its current revision
# D_HASH D_DIGEST D_SERVED D_VERSION D_CAUSE. Ends with 8 where there is no such Deployment.
read_deployment() {
    local text
    text=$(look get deployment "$1" --ignore-not-found -o "go-template=$DEPLOYMENT_TEMPLATE" 2> "$FOLDER/errors") || unreadable "Deployment $1"
    [ -n "$text" ] || die "$MISSING" "there is no Deployment $1 in namespace $NAMESPACE${2:+: $2}" "kubectl get deployments --all-namespaces; --namespace"
    { IFS= read -r D_SELECTOR && IFS= read -r D_IMAGE && IFS= read -r D_REPLICAS && IFS= read -r D_PAUSED && IFS= read -r D_REVISION && IFS= read -r D_MARK; } <<< "$text"$'\n' || true
    D_SELECTOR=${D_SELECTOR%,}
    [ -n "$D_IMAGE" ] || die "$MISSING" "Deployment $1 has no container 'server'" "deploy/k8s/base/service/deployment.yaml"
    D_HASH='' D_DIGEST='' D_SERVED='' D_VERSION='' D_CAUSE=''
    local number hash image digest served version earlier cause
    while IFS='|' read -r number hash image digest served version earlier cause; do
        if [ "$number" = "$D_REVISION" ]; then D_HASH=$hash D_DIGEST=$digest D_SERVED=$served D_VERSION=$version D_CAUSE=$cause; fi
    done <<< "$(revisions "$1")"
}

unreadable() {
    local why
    why=$(last_line)
    answers_at_all || die "$NO_CLUSTER" "the cluster does not answer any more: $(last_line)${STATE:+; $STATE}" "kubectl cluster-info"
    die "$MISSING" "$1 cannot be read: $why${STATE:+; $STATE}" "kubectl auth can-i --list --namespace=$NAMESPACE"
}

readonly REVISIONS_TEMPLATE='{{range .items}}{{$a := .metadata.annotations}}{{range .metadata.ownerReferences}}{{.name}}{{end}}|{{index $a "deployment.kubernetes.io/revision"}}|{{index .metadata.labels "pod-template-hash"}}|{{range .spec.template.spec.containers}}{{if eq .name "server"}}{{.image}}{{end}}{{end}}|{{with .spec.template.metadata.annotations}}{{with index . "modelyard.dev/model-digest"}}{{.}}{{end}}{{end}}|{{with index $a "modelyard.dev/served"}}{{.}}{{end}}|{{with index $a "deployment.kubernetes.io/revision-history"}}{{.}}{{end}}|{{with index $a "kubernetes.io/change-cause"}}{{printf "%q" .}}{{end}}
{{end}}'

# revisions NAME: revision|hash|image|expected digest|served digest|served version|earlier numbers|"change cause", oldest
# first. D_SELECTOR has been read. A ReplicaSet without a revision has not been seen by its controller yet. What was
# served is noted with the hash of its revision: Kubernetes copies a Deployment's annotations to whatever comes next. What
# is expected is noted with its image: an apply changes the image and leaves the note.
revisions() {
    local text
    text=$(look get replicasets -l "$D_SELECTOR" -o "go-template=$REVISIONS_TEMPLATE" 2> "$FOLDER/errors") || unreadable "history of $1"
    awk -F '|' -v owner="$1" '$1 == owner && $2 ~ /^[0-9]+$/ {
        split($5, expected, " ")
        split($6, served, " ")
        own = served[1] == $3
        print $2 "|" $3 "|" $4 "|" (expected[2] == $4 ? expected[1] : "") "|" (own ? served[3] : "") "|" (own ? served[2] : "") "|" $7 "|" $8
    }' <<< "$text" | sort -t '|' -k 1,1n
}

# revision_of HASH NAME: its line; the number changes when a revision is brought back.
revision_of() { revisions "$2" | awk -F '|' -v hash="$1" '$2 == hash'; }

show_history() {
    say "history of $1 (the last one is current):"
    say "$(revisions "$1" | awk -F '|' '{printf "  %4s  %-40s  %-20s  %s\n", $1, $3, ($6 == "" ? "" : "version " $6), $8}')"
}

# rollable NAME: Kubernetes would wait forever, or there would be nobody to ask.
rollable() {
    [ -z "$D_PAUSED" ] || die "$MISSING" "$1 is paused; nothing was changed" "kubectl --namespace=$NAMESPACE rollout resume deployment/$1"
    [ "$D_REPLICAS" != 0 ] || die "$MISSING" "$1 is scaled to 0: no pod could be asked; nothing was changed" "kubectl --namespace=$NAMESPACE scale deployment/$1 --replicas=1"
    [ -n "$D_HASH" ] || die "$MISSING" "the cluster's controllers have not seen $1 yet; nothing was changed" "run it again in a moment"
}

# --- waiting, and being interrupted ----------------------------------------------------------------------------------

# In the background, so that a signal is heard at once and not when the command has ended. Its input: the file INPUT.
interruptible() {
    "$@" < "${INPUT:-/dev/null}" &
    CHILD=$!
    local code=0
    wait "$CHILD" || code=$?
    CHILD=''
    return "$code"
}

pause() { interruptible sleep "$1"; }

stop_child() { if [ -n "$CHILD" ]; then kill "$CHILD" 2> /dev/null || true; fi; }

interrupted() {
    trap '' INT TERM HUP
    stop_child
    say $'\n'"interrupted: ${STATE:-nothing was changed}" >&9
    say "next: ${NEXT:-run it again when it suits}" >&9
    exit "$INTERRUPTED"
}
