#!/bin/bash
# "make demo": a week of a diary becomes films, on a throw-away server with two
# stand-ins for fal.ai and Supabase Storage, and some of it goes wrong on purpose;
# nothing costs money.  What it leaves is in demo/: films, index.html to see them,
# ledger.json with what the stand-in for fal.ai has noted.
#
# With FAL_KEY, SUPABASE_URL and SUPABASE_SERVICE_ROLE_KEY in the environment
# it uses the real services and costs real money: one row, unless DEMO_ROWS
# is set, and nothing goes wrong on purpose; bucket SUPABASE_BUCKET (videos), which
# must exist and be public.
#
# KEEP=1 keeps the server and the stand-ins up, with the dashboard and an app before
# them, until Ctrl-C.
set -euo pipefail
# shellcheck source=test/common.sh
. "$(dirname "$0")/../common.sh"
# shellcheck source=test/demo/say.sh
. "$TOP/test/demo/say.sh"

if [ -n "${FAL_KEY:-}" ] && [ -n "${SUPABASE_URL:-}" ] && [ -n "${SUPABASE_SERVICE_ROLE_KEY:-}" ]; then
	REAL=yes
	KEEP=
	KEEP_VARIABLES=(FAL_KEY SUPABASE_URL SUPABASE_SERVICE_ROLE_KEY SUPABASE_BUCKET DEMO_ROWS)
	ROWS=${DEMO_ROWS:-1}
	[[ $ROWS =~ ^[1-5]$ ]] || die "DEMO_ROWS must be 1 to 5"
	PATIENCE=1800
else
	REAL=
	KEEP=${KEEP:-}
	KEEP=${KEEP#0}
	KEEP_VARIABLES=(KEEP)
	PATIENCE=120
fi
unset MAKEFLAGS MAKELEVEL MFLAGS

# ------------------------------------------------------------------ outside

announce_mode()
{
	if [ -n "$REAL" ]; then
		say "Real services: fal.ai and $SUPABASE_URL, bucket ${SUPABASE_BUCKET:-videos}."
		say "This costs money: $ROWS video(s) at USD 0.50 each, $(printf 'USD %d.%02d' $((ROWS / 2)) $((ROWS % 2 * 50))) in all. Ctrl-C within 5 seconds stops it."
		sleep 5
	else
		say 'Two stand-ins play fal.ai and Supabase Storage: nothing leaves this machine, and nothing costs money.'
		if [ -n "${FAL_KEY:-}" ]; then
			say '(FAL_KEY is set; for the real services set SUPABASE_URL and SUPABASE_SERVICE_ROLE_KEY too.)'
		fi
	fi
}

# What is made belongs to the server's user, who may not write here: it comes
# through a pipe, as an archive.  Sets taker.
take_films()
{
	mkdir -p "$TOP/demo"
	mkfifo "$WORK/films"
	tar -C "$TOP/demo" --no-same-owner --no-same-permissions -xf "$WORK/films" &
	taker=$!
}

outside()
{
	local status=0 taker

	announce_mode
	if [ -n "$KEEP" ]; then "$TOP/test/setup.sh" keep; else "$TOP/test/setup.sh" demo; fi || exit
	make_workspace demo
	if [ -n "$KEEP" ]; then
		say 'Fetching what the page of the app is made of, from npm.'
		(fetch_packages web && build_element) || true
	fi
	take_films
	in_workspace test/demo/run.sh --inside || status=$?
	if [ "$status" = 0 ]; then
		wait "$taker" || status=$?
	else
		kill "$taker" 2>/dev/null || true
	fi
	if [ "$status" = 0 ]; then
		printf '\nSuccess. To see the films, open demo/index.html.\n'
	fi
	finish_workspace "$status"
}

# ------------------------------------------------------------------- inside

hand_over_films()
{
	(cd "$WORK/videos" && tar -cf "$WORK/films" -- *)
}

inside()
{
	# shellcheck source=test/demo/world.sh
	. "$TOP/test/demo/world.sh"
	# shellcheck source=test/demo/story.sh
	. "$TOP/test/demo/story.sh"

	trap stop EXIT
	trap 'exit 130' INT TERM HUP
	umask 077
	make_world
	if [ -n "$REAL" ]; then
		tell_plain_story
	else
		tell_story
	fi
	hand_over_films
	if [ -n "$KEEP" ]; then
		keep_up
	fi
}

# Until Ctrl-C, which is the end that was asked for.
keep_up()
{
	local keeper over='' status=0

	# so that the dashboard's ledger has something to explain
	control bill '{"endpoint": "fal-ai/minimax/video-01", "auth_method": "Another program"}'
	sql -c 'SELECT vibevideo.sync_usage()' >/dev/null
	heading 'All of this stays up until Ctrl-C'
	printf '  the films\n    demo/index.html\n'
	printf '  psql, with short views of the jobs\n    PSQLRC=sql/console.sql psql -h %s -U postgres app\n' "$WORK"
	PGDATABASE=app node test/demo/keep.mjs "$WORK" "$(told storage gateway_url)" &
	keeper=$!
	trap 'over=yes; kill "$keeper" 2>/dev/null' INT TERM HUP
	while kill -0 "$keeper" 2>/dev/null; do
		status=0
		wait "$keeper" || status=$?
	done
	trap 'exit 130' INT TERM HUP
	[ -n "$over" ] || die "what was to stay up has ended with status $status"
}

if [ "${1:-}" = --inside ]; then
	inside
else
	outside
fi
