# The demo's server and stand-ins: built, started and stopped.  Sourced by bash.
# shellcheck shell=bash

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

# control PATH JSON: has the stand-in for fal.ai do something
control()
{
	# shellcheck disable=SC2016
	node -e 'const [url, body] = process.argv.slice(1);
		fetch(url, { method: "POST", body }).then(async (answer) => { if (!answer.ok) throw new Error(await answer.text()) })' "$FAL/_ctl/$1" "$2"
}

# A queue of seconds instead of minutes, two at a time.
start_emulators()
{
	start_emulator fal --key demo:secret --admin-key demo:admin --render ffmpeg --default '{"queue_ms": 1500, "run_ms": 2500, "account_concurrency": 2}'
	start_emulator storage --bucket videos:public --limit 1073741824
	FAL=$(told fal url)
	# shellcheck disable=SC2034
	STORAGE=$(told storage url)
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
			vibevideo.resumable_threshold = '1MB'
			# processes are killed, the machine is not
			fsync = off
			vibevideo.poll_interval = '1s'
		EOF
	fi
}

# The server gets the fal keys through its environment: FAL_KEY, and FAL_ADMIN_KEY for the bill.
start_server()
{
	"$BIN/initdb" -D "$WORK/data" -U postgres -A trust -N -E UTF8 >"$WORK/initdb.log"
	settings >>"$WORK/data/postgresql.conf"
	[ -n "$REAL" ] || export FAL_KEY=demo:secret FAL_ADMIN_KEY=demo:admin
	"$BIN/pg_ctl" -D "$WORK/data" -l "$WORK/server.log" -w start >/dev/null || { tail -n 20 "$WORK/server.log"; die 'the server did not start'; }
	"$BIN/createdb" app
}

make_world()
{
	heading 'Building vibevideo, and starting a PostgreSQL for it'
	install_extension
	BIN=$("$PG_CONFIG" --bindir)
	PATH=$BIN:$PATH
	export PGHOST=$WORK PGUSER=postgres
	[ -n "$REAL" ] || start_emulators
	start_server
	"$PG_CONFIG" --version
}

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
