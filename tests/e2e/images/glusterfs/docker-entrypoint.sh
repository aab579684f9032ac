#!/bin/sh
# The start of an image with Debian's GlusterFS: what the command says, as root.
set -eu

exec "$@"
