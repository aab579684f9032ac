#!/bin/sh
# Print sorted lines that two copies of a database have in common: the number and a digest of the keys of each type, and the
# functions. Keys with an expiry time are counted by hour: their line counts only until that hour begins. The server reads
# few keys at a time, so others can use it meanwhile. SOCKET: the server's socket, if it has no address.
set -eu
# shellcheck source=components/engines/scripts/redis/connect.sh
. "${0%/*}/connect"

ask "$@" INFO keyspace
fields_expire=$(sed -n "s/^db$DATABASE:.*,\(subexpiry\|keys_with_volatile_items\)=[1-9].*/yes/p" "$work/answer")

# A digest is a sum of hashes, so it does not depend on the order of the keys, or of the members of a set or a hash. Numbers
# stay below 2^53. The text of a score depends on the version, so the number itself counts.
script=$(cat <<'LUA'
local call, hash = redis.call, redis.sha1hex
local fields_expire, count, size = ARGV[2] == 'yes', 1000, 4503599627370496
local add = function(sum, text)
    local digest = hash(text)
    for part = 1, 3 do
        sum[part] = (sum[part] + tonumber(digest:sub(part * 13 - 12, part * 13), 16)) % size
    end
end
local join = function(...) -- join texts so that other texts have another result
    local parts = {...}
    for i, part in ipairs(parts) do parts[i] = #part .. ':' .. part end
    return table.concat(parts)
end
local print_sum = function(sum) return string.format('%.0f %.0f %.0f', unpack(sum)) end
local scan = function(command, key, visit)
    local sum, cursor = {0, 0, 0}, '0'
    repeat
        local page = call(command, key, cursor, 'COUNT', count)
        cursor = page[1]
        visit(sum, page[2])
    until cursor == '0'
    return print_sum(sum)
end
local visit_pages = function(read, first, visit) -- read(first) returns a page and the beginning of the next one
    repeat
        local page
        page, first = read(first)
        for _, item in ipairs(page) do visit(item) end
    until #page < count
end
local number = function(text) return string.format('%.17g', tonumber(text)) end
local flatten
flatten = function(item)
    if type(item) ~= 'table' then return tostring(item) end
    local parts = {}
    for i, part in ipairs(item) do parts[i] = flatten(part) end
    return join(unpack(parts))
end
local named = function(list) -- the answer of XINFO as a table
    local values = {}
    for i = 1, #list, 2 do values[list[i]] = list[i + 1] end
    return values
end
local find_times = function(key, fields)
    return call('HPEXPIRETIME', key, 'FIELDS', #fields, unpack(fields))
end

local digests = {}
digests.string = function(key) return call('GET', key) end
digests.list = function(key)
    local digest = ''
    local read = function(first) return call('LRANGE', key, first, first + count - 1), first + count end
    visit_pages(read, 0, function(item) digest = hash(digest .. item) end)
    return digest
end
digests.set = function(key)
    return scan('SSCAN', key, function(sum, page) for _, member in ipairs(page) do add(sum, member) end end)
end
digests.zset = function(key)
    return scan('ZSCAN', key, function(sum, page)
        for i = 1, #page, 2 do add(sum, join(page[i], number(page[i + 1]))) end
    end)
end
digests.hash = function(key)
    local next_expiry
    local digest = scan('HSCAN', key, function(sum, page)
        local times, fields = {}, {}
        if fields_expire and #page > 0 then
            for i = 1, #page, 2 do fields[#fields + 1] = page[i] end
            times = find_times(key, fields)
        end
        for i = 1, #page, 2 do
            local expiry = times[(i + 1) / 2] or -1
            if expiry > 0 and (not next_expiry or expiry < next_expiry) then next_expiry = expiry end
            add(sum, join(page[i], page[i + 1], number(expiry)))
        end
    end)
    return digest, next_expiry
end
digests.stream = function(key)
    local sum, info = {0, 0, 0}, named(call('XINFO', 'STREAM', key))
    local digest = ''
    local read = function(first)
        local page = call('XRANGE', key, first, '+', 'COUNT', count)
        return page, #page > 0 and '(' .. page[#page][1]
    end
    visit_pages(read, '-', function(entry) digest = hash(digest .. flatten(entry)) end)
    for _, list in ipairs(call('XINFO', 'GROUPS', key)) do
        local group = named(list)
        add(sum, join('group', group.name, group['last-delivered-id']))
        for _, consumer in ipairs(call('XINFO', 'CONSUMERS', key, group.name)) do
            add(sum, join('consumer', group.name, named(consumer).name))
        end
        local pending = function(first)
            local page = call('XPENDING', key, group.name, first, '+', count)
            return page, #page > 0 and '(' .. page[#page][1]
        end
        visit_pages(pending, '-', function(entry)
            -- No copy has the pending state of an entry that was deleted.
            if #call('XRANGE', key, entry[1], entry[1]) > 0 then
                add(sum, join('pending', group.name, entry[1], entry[2], number(entry[4])))
            end
        end)
    end
    return join(digest, info['last-generated-id'], print_sum(sum))
end

local page, lines, sums = call('SCAN', ARGV[1], 'COUNT', count), {}, {}
for _, key in ipairs(page[2]) do
    local kind = call('TYPE', key).ok
    if kind ~= 'none' then
        local expiry, value, field_expiry = call('PEXPIRETIME', key), '', nil
        if digests[kind] then value, field_expiry = digests[kind](key) end
        local first = expiry > 0 and expiry or field_expiry
        if field_expiry and field_expiry < first then first = field_expiry end
        local line = 'keys of type ' .. kind
        if first then line = string.format('until %.0f: ', math.floor(first / 3600000) * 3600) .. line end
        if not sums[line] then
            sums[line] = {0, 0, 0, 0}
            lines[#lines + 1] = line
        end
        add(sums[line], join(key, kind, number(expiry), value))
        sums[line][4] = sums[line][4] + 1
    end
end
local answer = {page[1]}
for _, line in ipairs(lines) do answer[#answer + 1] = line .. '\t' .. print_sum(sums[line]) .. ' ' .. sums[line][4] end
return answer
LUA
)
cursor=0
while :; do
    ask "$@" EVAL_RO "$script" 0 "$cursor" "$fields_expire"
    { read -r cursor; cat; } <"$work/answer" >>"$work/sums"
    read -r cursor <"$work/answer"
    [ "$cursor" != 0 ] || break
done
awk -F '\t' '
    {
        split($2, part, " ")
        for (i = 1; i <= 3; i++) sum[$1, i] = (sum[$1, i] + part[i]) % 4503599627370496
        keys[$1] += part[4]
    }
    END {
        for (line in keys) printf "%s: %.0f, digest: %.0f %.0f %.0f\n", line, keys[line], sum[line, 1], sum[line, 2], sum[line, 3]
    }
' "$work/sums" >"$work/lines"

# The order of the functions in an answer is random. The digest is the one of the code.
ask "$@" FUNCTION LIST
sed -n '/^library_name$/{n;p;}' "$work/answer" >"$work/libraries"
while read -r library; do
    ask "$@" FUNCTION LIST LIBRARYNAME "$library" WITHCODE
    echo "library $library of functions, digest: $(sed '1,/^library_code$/d' "$work/answer" | sha256sum | cut -c 1-32)"
done <"$work/libraries" >>"$work/lines"
LC_ALL=C sort "$work/lines"
