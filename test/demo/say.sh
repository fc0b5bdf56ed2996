# How the demo speaks: 80 columns, in which nothing wraps by itself.  Sourced by bash.
# shellcheck shell=bash

# heading TEXT
heading()
{
	if [ -t 1 ]; then
		printf '\n\e[1m%s\e[0m\n' "$*"
	else
		printf '\n%s\n' "$*"
	fi
}

# say TEXT...: a paragraph
say()
{
	fold -s -w 79 <<<"$*" | sed 's/ *$//'
}

# hang HEAD TEXT: the text in as many lines as it takes, beside the head
hang()
{
	local line head=$1

	while IFS= read -r line; do
		printf '%s%s\n' "$head" "${line%"${line##*[! ]}"}"
		printf -v head '%*s' ${#1} ''
	done < <(fold -s -w $((79 - ${#1})) <<<"$2")
}

# A moment for reading, where somebody reads.
breath()
{
	if [ -t 1 ]; then
		sleep "$1"
	fi
}
