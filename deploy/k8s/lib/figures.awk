# Requests of one model in the expositions of some pods: `requests bad refused p99`, p99 in seconds or -.
# Files in a folder `before/` are taken off. -v service: the model's name as it stands in Kubernetes names.
#   bad       error, timeout, shed          refused   client_error: what callers are said to have done wrong
# With -v what=answers: what the pod serves instead, in the lines of tell.py's `answers`.
# Members of an ensemble are left out: their requests are counted at the ensemble. p99 as histogram_quantile has it.

FNR == 1 { sign = FILENAME ~ /\/before\/[^\/]*$/ ? -1 : 1 }

/^modelyard_(requests_total|request_duration_seconds_bucket)\{/ {
    if (label("protocol") == "ensemble" || plain(label("model")) != service) next
    value = sign * $NF
    if (/^modelyard_requests_total/) count[label("outcome")] += value
    else bucket[label("le")] += value
}

what == "answers" && /^modelyard_model_(info|default|ready)\{/ {
    if (plain(label("model")) != service || $NF != 1) next
    if (/^modelyard_model_info/) { digest[label("version")] = label("digest"); model = label("model") }
    else if (/^modelyard_model_default/) version = label("version")
    else ready[label("version")] = "yes"
}

END {
    if (what == "answers") {
        printf "model=%s\nversion=%s\ndigest=%s\n", model, version, digest[version]
        printf "ready=%s\ngolden=none\nothers=none\n", ready[version] ? "yes" : "no"
        exit
    }
    bad = count["error"] + count["timeout"] + count["shed"]
    refused = count["client_error"]
    all = count["ok"] + bad + refused
    printf "%d %d %d %s\n", positive(all), positive(bad), positive(refused), quantile(0.99)
}

function label(name,    from, rest) {
    from = match($0, "[{,]" name "=\"")
    if (!from) return ""
    rest = substr($0, from + RLENGTH)
    return substr(rest, 1, index(rest, "\"") - 1)
}

function plain(name) {
    name = tolower(name)
    gsub(/[^a-z0-9]+/, "-", name)
    gsub(/^-|-$/, "", name)
    return name ~ /^[0-9]/ ? "m" name : name
}

function positive(number) { return number > 0 ? number : 0 }

function quantile(share,    edge, n, i, j, edges, swap, wanted, below, before) {
    n = 0
    for (edge in bucket) if (edge != "+Inf") edges[++n] = edge + 0
    for (i = 2; i <= n; i++)
        for (j = i; j > 1 && edges[j - 1] > edges[j]; j--) { swap = edges[j]; edges[j] = edges[j - 1]; edges[j - 1] = swap }
    for (edge in bucket) at[edge == "+Inf" ? "inf" : edge + 0] = bucket[edge]
    if (!(at["inf"] > 0)) return "-"
    wanted = share * at["inf"]
    below = before = 0
    for (i = 1; i <= n; i++) {
        if (at[edges[i]] >= wanted) {
            if (at[edges[i]] == before) return sprintf("%.6g", edges[i])
            return sprintf("%.6g", below + (edges[i] - below) * (wanted - before) / (at[edges[i]] - before))
        }
        below = edges[i]; before = at[edges[i]]
    }
    return sprintf("%.6g", below)
}
