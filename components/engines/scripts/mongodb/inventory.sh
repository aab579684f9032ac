#!/bin/sh
# Print sorted lines that two copies of a database have in common: each collection with its options, the number of its
# documents and a sum of their hashes, each index and each view. `dump` reads the beginning of a line, up to `: `.
set -eu
# shellcheck source=components/engines/scripts/mongodb/connect.sh
. "${0%/*}/connect"
run_mongosh >"$work/lines" <<'SCRIPT'
const { createHash } = require('crypto');
const quote = JSON.stringify, format = value => EJSON.stringify(value, { relaxed: false });
// The documents are bytes: numbers of different types, and fields in another order, are a difference.
function printDocuments(collection) {
    let count = 0, sum = 0n;
    collection.find({}, {}, { raw: true }).batchSize(1000).forEach(document => {
        count += 1;
        sum += BigInt('0x' + createHash('sha256').update(document).digest('hex'));
    });
    print(`documents in ${quote(collection.getName())}: ${count}`);
    print(`hash of the documents in ${quote(collection.getName())}: ${(sum % 2n ** 256n).toString(16)}`);
}
for (const { name, type, options } of database.getCollectionInfos()) {
    if (name.startsWith('system.') && name !== 'system.js') continue;
    const collection = database.getCollection(name);
    print(`${type} ${quote(name)}: ${format(options)}`);
    if (type !== 'collection') continue;
    printDocuments(collection);
    for (const { v, ns, background, ...index } of collection.getIndexes())
        print(`index ${quote(index.name)} on ${quote(name)}: ${format(index)}`);
}
SCRIPT
LC_ALL=C sort "$work/lines"
