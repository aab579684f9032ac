#!/usr/bin/env bash
# Copy the data of an Elasticsearch group to another group of the application. See docs/upgrading.md.
set -euo pipefail
. "$(dirname "$0")/move.sh"
use_image "elasticsearch-$new"
write_copy elasticsearch | move elasticsearch
