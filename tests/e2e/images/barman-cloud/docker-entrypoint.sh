#!/bin/sh
# Entrypoint of the image that the Barman Cloud plugin adds to the Pods of CloudNativePG.
exec plugin-barman-cloud "$@"
