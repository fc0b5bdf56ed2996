#!/bin/bash
# Keeps a project up to look at: a server with jobs of all kinds, stand-ins for
# fal.ai, Storage, PostgREST and Auth, the page and the component.
#
#   test/browser/run.sh [--port 8100] [--empty] [--history 12000] [PG_CONFIG=…]
#
# BROWSER_WEB=DIR names the folder web/ to serve files from, which is read as it is at
# every request; without it a copy of this tree's is built.  The page that the
# database serves is always this tree's.  Ctrl-C ends all, and deletes the workspace.
# The suite itself is "make test SUITES=browser".
set -euo pipefail
# shellcheck source=test/common.sh
. "$(dirname "$0")/../common.sh"

KEEP_VARIABLES=(BROWSER_WEB)
unset MAKEFLAGS MAKELEVEL MFLAGS

outside()
{
	local status=0

	"$TOP/test/setup.sh" test || exit
	make_workspace look
	if ! (fetch_packages test/browser) || { [ -z "${BROWSER_WEB:-}" ] && ! (fetch_packages web && build_element); }; then
		tail -n 20 "$WORK/npm.log"
		die 'npm could not install or build what the pages need'
	fi
	in_workspace test/browser/run.sh --inside "$@" || status=$?
	finish_workspace "$status"
}

inside()
{
	local status=0 world

	trap 'kill -TERM "$world" 2>/dev/null' INT TERM HUP
	if ! make -j"$(nproc)" PG_CONFIG="$PG_CONFIG" all >"$WORK/build.log" 2>&1 || ! make PG_CONFIG="$PG_CONFIG" install >>"$WORK/build.log" 2>&1; then
		tail -n 40 "$WORK/build.log"
		die 'the build failed'
	fi
	node test/browser/world.mjs --serve "$@" &
	world=$!
	while kill -0 "$world" 2>/dev/null; do
		status=0
		wait "$world" || status=$?
	done
	end_processes 50 || true
	return "$status"
}

if [ "${1:-}" = --inside ]; then
	shift
	inside "$@"
else
	outside "$@"
fi
