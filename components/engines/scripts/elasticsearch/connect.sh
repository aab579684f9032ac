# shellcheck shell=sh
# Functions that send requests and read documents. The scripts that copy data source this file. The image has no program
# that reads JSON, but the server prints one value per line: the lines of a document have more spaces before the text.
umask 077
export LC_ALL=C
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
quote() { printf '"%s"' "$(printf %s "$1" | sed 's/[\\"]/\\&/g')"; } # quote TEXT: print a text of curl's configuration or of JSON
{
    printf '%s\n' silent show-error fail-with-body globoff 'connect-timeout = 15' 'header = "Content-Type: application/json"'
    [ -z "${USERNAME-}" ] || printf 'user = %s\n' "$(quote "$USERNAME:$PASSWORD")"
    [ -z "${CA_FILE-}" ] || printf 'cacert = %s\n' "$(quote "$CA_FILE")"
    [ "${TLS-}" != require ] || echo insecure
} >"$work/curl"
# Print two lines for each document: the action of a bulk request, and the document.
cat >"$work/documents.sed" <<'SCRIPT'
/^      {$/ { s/.*/{"index":{/; h; }
/^        "_index" : / { s/^ *//; H; }
/^        "_id" : / { s/^ *//; H; }
/^        "_routing" : / { s/^ *"_/"/; H; }
/^        "_source" : / {
    x; s/\n//g; s/,$/}}/; p
    x; s/^ *"_source" : //
    /^{ }/ { s/,$//; p; d; }
    h
    :next
    n
    /^        }/ { x; s/\n//g; s/$/}/; p; d; }
    s/^ *//; H
    b next
}
SCRIPT
case ${TLS:-disable} in disable) url=http:// ;; *) url=https:// ;; esac
case $ADDRESS in *:*) url="${url}[$ADDRESS]:$PORT" ;; *) url=$url$ADDRESS:$PORT ;; esac

ask() { # ask PATH [ARGUMENT...]: send a request and print the answer; print an error as a message
    path=$1
    shift
    curl --config "$work/curl" "$url/$path" "$@" >"$work/answer" || {
        code=$?
        cat "$work/answer" >&2
        return "$code"
    }
    cat "$work/answer"
}

list_indices() { # list_indices: print the names of the indices; names that begin with a dot belong to the server
    ask '_cat/indices?h=index,status&expand_wildcards=all' >"$work/indices"
    if grep -v '^\.' "$work/indices" | grep -v ' open *$' >&2; then
        echo 'error: an index is closed; open it' >&2
        return 1
    fi
    sed -n 's/^\([^. ][^ ]*\) .*/\1/p' "$work/indices" | sort
}

# Settings that the server chooses, and blocks, which would reject the documents.
unwanted=
for setting in blocks creation_date history_uuid provided_name resize routing.initial_recovery uuid version; do
    unwanted="$unwanted,-*.settings.index.$setting"
done

encode() { printf %s "$1" | sed 's/%/%25/g; s/+/%2B/g'; } # encode INDEX: print the name of an index for a path

open_moment() { # open_moment: print the identifier of a moment of all indices
    # Without a refresh, the moment does not contain the newest documents.
    ask '*,-.*/_refresh?expand_wildcards=open,hidden' --request POST >"$work/refreshed"
    ask '*,-.*/_pit?keep_alive=15m&expand_wildcards=open,hidden' --request POST >"$work/moment"
    sed 's/^{"id":"\([^"]*\)".*/\1/' "$work/moment"
}

read_documents() { # read_documents MOMENT INDEX COMMAND: run a command for each part of an index, which "$work/part" holds
    moment=$1 after=
    while :; do
        printf '{"size": 1000, "track_total_hits": false, "query": {"term": {"_index": "%s"}}, "pit": {"id": "%s", "keep_alive": "15m"}' \
            "$2" "$moment" >"$work/query"
        printf ', "sort": ["_shard_doc"]%s}' "${after:+, \"search_after\": [$after]}" >>"$work/query"
        fields=pit_id,hits.hits._index,hits.hits._id,hits.hits._routing,hits.hits._source,hits.hits.sort
        ask "_search?pretty&allow_partial_search_results=false&filter_path=$fields" --data-binary "@$work/query" >"$work/hits"
        moment=$(sed -n 's/^  "pit_id" : "\(.*\)".*/\1/p' "$work/hits")
        after=$(sed -n '/^        "sort" : \[$/{n;s/ //g;p;}' "$work/hits" | tail -n 1)
        [ -n "$after" ] || return 0
        sed -n -f "$work/documents.sed" "$work/hits" >"$work/part"
        if [ "$(wc -l <"$work/part")" -ne $((2 * $(grep -c '^        "_id" : ' "$work/hits"))) ]; then
            echo "error: the index $2 does not store its documents (_source)" >&2
            return 1
        fi
        "$3"
    done
}
