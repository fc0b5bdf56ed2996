#!/bin/bash
# "make demo": five diary rows become videos, on a throw-away server with two
# stand-ins for fal.ai and Supabase Storage; nothing costs money.
#
# With FAL_KEY, SUPABASE_URL and SUPABASE_SERVICE_ROLE_KEY in the environment
# it uses the real services and costs real money: one row, unless DEMO_ROWS
# is set; bucket SUPABASE_BUCKET (videos), which must exist and be public.
set -euo pipefail
# shellcheck source=test/common.sh
. "$(dirname "$0")/../common.sh"

if [ -n "${FAL_KEY:-}" ] && [ -n "${SUPABASE_URL:-}" ] && [ -n "${SUPABASE_SERVICE_ROLE_KEY:-}" ]; then
	REAL=yes
	ROWS=${DEMO_ROWS:-1}
	PATIENCE=1800
else
	REAL=
	ROWS=${DEMO_ROWS:-5}
	PATIENCE=90
fi
KEEP_VARIABLES=(DEMO_ROWS)
[ -z "$REAL" ] || KEEP_VARIABLES+=(FAL_KEY SUPABASE_URL SUPABASE_SERVICE_ROLE_KEY SUPABASE_BUCKET)
[[ $ROWS =~ ^[1-5]$ ]] || die "DEMO_ROWS must be 1 to 5"
unset MAKEFLAGS MAKELEVEL MFLAGS

heading()
{
	if [ -t 1 ]; then
		printf '\n\e[1m%s\e[0m\n' "$*"
	else
		printf '\n%s\n' "$*"
	fi
}

# ------------------------------------------------------------------ outside

announce_mode()
{
	if [ -n "$REAL" ]; then
		echo "Real services: fal.ai and $SUPABASE_URL, bucket ${SUPABASE_BUCKET:-videos}."
		printf 'This costs money: %d video(s) at a list price of USD 0.50 each, USD %d.%02d in all. Ctrl-C within 5 seconds stops it.\n' \
			"$ROWS" $((ROWS / 2)) $((ROWS % 2 * 50))
		sleep 5
	else
		echo 'Stand-ins for fal.ai and Supabase Storage: nothing leaves this machine, nothing costs money.'
		if [ -n "${FAL_KEY:-}" ]; then
			echo '(FAL_KEY is set; for the real services set SUPABASE_URL and SUPABASE_SERVICE_ROLE_KEY too.)'
		fi
	fi
}

outside()
{
	local status=0

	announce_mode
	"$TOP/test/setup.sh" demo || exit
	make_workspace demo
	in_workspace test/demo/run.sh --inside || status=$?
	if compgen -G "$WORK/videos/*.mp4" >/dev/null; then
		mkdir -p "$TOP/demo"
		cp --no-preserve=ownership "$WORK"/videos/*.mp4 "$TOP/demo/"
		[ "$status" != 0 ] || printf '\nSuccess. The videos are in %s\n' "$TOP/demo"
	fi
	finish_workspace "$status"
}

# ------------------------------------------------------------------- inside

sql()
{
	psql -X -q -P pager=off -v ON_ERROR_STOP=1 -d app "$@"
}

install_extension()
{
	local log=$WORK/build.log

	make --no-print-directory -j"$(nproc)" PG_CONFIG="$PG_CONFIG" all >"$log" 2>&1 &&
		make --no-print-directory PG_CONFIG="$PG_CONFIG" install >>"$log" 2>&1 && return
	tail -n 40 "$log"
	die 'the build failed'
}

# start_emulator NAME ARGUMENT...: starts it and waits for its line of JSON
start_emulator()
{
	local tries

	node "test/emulator/$1.mjs" "${@:2}" >"$WORK/$1.json" 2>"$WORK/$1.log" &
	for ((tries = 0; tries < 100; tries++)); do
		[ -s "$WORK/$1.json" ] && return
		sleep 0.1
	done
	cat "$WORK/$1.log"
	die "the $1 emulator did not start"
}

# told NAME FIELD: a field of the JSON that an emulator printed
told()
{
	node -p 'JSON.parse(fs.readFileSync(process.argv[1], "utf8"))[process.argv[2]]' "$WORK/$1.json" "$2"
}

# A queue of seconds instead of minutes, and a media host slow enough to show
# the copies progress, one of them very slow.
start_emulators()
{
	start_emulator fal --key demo:secret --render ffmpeg --default '{"queue_ms": 1500, "run_ms": 2500, "account_concurrency": 2}'
	start_emulator storage --bucket videos:public
	FAL=$(told fal url)
	STORAGE=$(told storage url)
	slow_media 'Swam in the lake' 11000
	slow_media . 24000
}

# slow_media PROMPT BYTES_PER_SECOND
slow_media()
{
	# shellcheck disable=SC2016
	node -e 'const [url, prompt, rate] = process.argv.slice(1);
		fetch(`${url}/_ctl/fault`, { method: "POST", body: JSON.stringify(
			{ on: "media", prompt, times: -1, fault: { kind: "slow", bytes_per_s: Number(rate) } }) })
			.then((answer) => { if (!answer.ok) process.exitCode = 1 })' "$FAL" "$1" "$2"
}

settings()
{
	cat <<-EOF
		listen_addresses = ''
		unix_socket_directories = '$WORK'
		shared_preload_libraries = 'pg_cron, vibevideo'
		cron.database_name = 'app'
		cron.host = '$WORK'
	EOF
	if [ -n "$REAL" ]; then
		cat <<-EOF
			vibevideo.storage_url = '${SUPABASE_URL%/}/storage/v1'
			vibevideo.storage_key = '$SUPABASE_SERVICE_ROLE_KEY'
			vibevideo.storage_bucket = '${SUPABASE_BUCKET:-videos}'
		EOF
	else
		cat <<-EOF
			vibevideo.fal_queue_url = '$FAL'
			vibevideo.fal_api_url = '$FAL/v1'
			vibevideo.media_hosts = '$FAL'
			vibevideo.storage_url = '$(told storage gateway_url)'
			vibevideo.storage_key = '$(told storage service_key)'
			vibevideo.poll_interval = '1s'
		EOF
	fi
}

# The server gets the fal key through its environment, as FAL_KEY.
start_server()
{
	"$BIN/initdb" -D "$WORK/data" -U postgres -A trust -N -E UTF8 >"$WORK/initdb.log"
	settings >>"$WORK/data/postgresql.conf"
	[ -n "$REAL" ] || export FAL_KEY=demo:secret
	"$BIN/pg_ctl" -D "$WORK/data" -l "$WORK/server.log" -w start >/dev/null || { tail -n 20 "$WORK/server.log"; die 'the server did not start'; }
	"$BIN/createdb" app
}

# show_lines LINE...: on a terminal, each cut to its width
show_lines()
{
	local line columns
	columns=$(stty size 2>/dev/null </dev/tty | cut -d ' ' -f 2) || columns=
	for line in "$@"; do
		printf '%s\e[K\n' "${line:0:${columns:-110}}"
	done
}

# Refreshes the table in place; without a terminal, prints lines that changed.
watch_jobs()
{
	local -a lines=() before=()
	local i title deadline=$((SECONDS + PATIENCE))

	printf -v title '  %-10s  %-10s %s  %-24s  %s' day status ahead copied message
	if [ -t 1 ]; then show_lines "$title"; else echo "$title"; fi
	while :; do
		mapfile -t lines < <(sql -At -v width=24 -f test/demo/watch.sql)
		if [ -t 1 ]; then
			[ ${#before[@]} = 0 ] || printf '\e[%dA' "${#before[@]}"
			show_lines "${lines[@]}"
		else
			for i in "${!lines[@]}"; do
				[ "${lines[i]}" = "${before[i]:-}" ] || echo "${lines[i]}"
			done
		fi
		before=("${lines[@]}")
		[ "$(sql -At -c "$UNFINISHED")" != 0 ] || break
		[ "$SECONDS" -lt "$deadline" ] || die "not finished after $PATIENCE seconds"
		sleep 0.3
	done
}

# a job has ended when the app's row says so
UNFINISHED="SELECT count(*) FROM vibelogs WHERE video_generation_status IN ('queued', 'generating', 'processing')"

# Whatever happens, no job that costs money is left behind unattended.
stop()
{
	local status=$?

	trap - EXIT INT TERM HUP
	if [ -n "$REAL" ] && [ "$status" != 0 ]; then
		sql -c "SELECT (vibevideo_cancel(id)).message FROM vibelogs WHERE video_generation_status IN ('queued', 'generating')" || true
	fi 2>/dev/null
	if [ -e "$WORK/data/postmaster.pid" ]; then
		"$BIN/pg_ctl" -D "$WORK/data" -m fast -w -t 20 stop >/dev/null || true
	fi
	# shellcheck disable=SC2046
	kill $(jobs -p) 2>/dev/null || true
	end_processes 30 || true
	if [ "$status" != 0 ] && [ "$status" != 130 ]; then
		grep -E 'WARNING|ERROR|FATAL|PANIC' "$WORK/server.log" 2>/dev/null | tail -n 10
	fi
	exit "$status"
}

inside()
{
	local submit rows

	trap stop EXIT
	trap 'exit 130' INT TERM HUP
	umask 077
	heading 'Building vibevideo, starting a server for it'
	install_extension
	BIN=$("$PG_CONFIG" --bindir)
	PATH=$BIN:$PATH
	export PGHOST=$WORK PGUSER=postgres
	[ -n "$REAL" ] || start_emulators
	start_server
	"$PG_CONFIG" --version

	heading 'The app has a table; an operator adds vibevideo'
	sql -f test/demo/vibelogs.sql
	sql -e -At -f test/demo/install.sql

	heading 'Is everything as it has to be?  SELECT * FROM vibevideo.check_config()'
	sql -At -F '  ' -c "SELECT rpad(status, 4), rpad(check_name, 14), detail, CASE WHEN status <> 'ok' THEN hint END FROM vibevideo.check_config()"
	[ "$(sql -At -c "SELECT count(*) FROM vibevideo.check_config() WHERE status = 'fail'")" = 0 ] || die 'the configuration is not right, see above'

	heading "Submitting $ROWS row(s): SELECT vibevideo_submit(id)"
	submit="SELECT format('SELECT %L, v.status, v.request_id, v.message FROM vibevideo_submit(%L) v', written_on, id) FROM vibelogs ORDER BY written_on LIMIT $ROWS"
	sql -At -F '  ' <<<"$submit \\gexec"

	heading 'Following them'
	watch_jobs

	heading 'The rows'
	sql -At -F '  ' -c "SELECT id, video_generation_status, video_url, video_generation_error FROM vibelogs WHERE video_generation_status IS NOT NULL ORDER BY written_on"

	heading 'The files, read from their public URLs'
	rows="SELECT coalesce(json_agg(json_build_object('day', v.written_on, 'status', v.video_generation_status, 'url', v.video_url,
		'error', v.video_generation_error, 'sha256', encode(j.sha256, 'hex')) ORDER BY v.written_on), '[]')
		FROM vibelogs v JOIN vibevideo.job j ON j.vibelog_id = v.id::text"
	if [ -n "$REAL" ]; then
		sql -At -c "$rows" | node test/demo/verify.mjs "$WORK/videos"
	else
		sql -At -c "$rows" | node test/demo/verify.mjs "$WORK/videos" "$FAL" "$STORAGE"
	fi
}

if [ "${1:-}" = --inside ]; then
	inside
else
	outside
fi
