# _kxsh_words splits the line up to the cursor as kxsh will see it into the array line: bash takes
# --sort=pid and %3 apart where COMP_WORDBREAKS says so. Quotes and backslashes go.
_kxsh_words() {
	local rest=${COMP_LINE:0:COMP_POINT} i word bare
	line=()
	for ((i = 0; i <= COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		bare=${rest#"${rest%%[! $'\t']*}"}
		((i == COMP_CWORD)) && word=$bare
		if ((i)) && [[ $bare == "$rest" ]]; then
			word=${line[-1]}$word
			unset 'line[-1]'
		else
			rest=$bare
		fi
		((i == COMP_CWORD)) || rest=${rest#"${COMP_WORDS[i]}"}
		word=${word//[\\\"\']/}
		line+=("${word/#'~/'/"$HOME/"}")
	done
}

# _kxsh_takes WORD: does a flag's value follow this word? flag is the flag then.
_kxsh_takes() {
	local i
	case $1 in
	--*=*) return 1 ;;
	--*)
		flag=$1
		_kxsh_value "$command" "$flag"
		return
		;;
	esac
	for ((i = 1; i < ${#1}; i++)); do # -dm: several in one word
		flag=-${1:i:1}
		if _kxsh_value "$command" "$flag"; then
			((i == ${#1} - 1))
			return
		fi
	done
	return 1
}

# _kxsh_live prints the pVMs: PID, family and name.
_kxsh_live() {
	timeout 2 "${line[0]}" "${globals[@]}" @LIVE@ 2>/dev/null </dev/null
}

# _kxsh_offer WORD... adds the words that begin with what was typed.
_kxsh_offer() {
	local word
	for word; do
		[[ $word == "$value"* ]] && COMPREPLY+=("${word#"$before"}")
	done
}

# _kxsh_pvms adds PIDs, names and families. Where bash only lists them, a PID has its name beside it.
_kxsh_pvms() {
	local pid family name seen=' '
	local -a pids=() names=()
	while read -r pid family name; do
		case $value in
		%*)
			[[ $seen == *" $family "* ]] || _kxsh_offer "%$family"
			seen+="$family "
			continue
			;;
		esac
		[[ $1 == pvm && $pid == "$value"* ]] && pids+=("$pid $name")
		[[ $name && $name != *[!@CHARS@]* && $seen != *" $name "* ]] && _kxsh_offer "$name"
		seen+="$name "
	done < <(_kxsh_live)
	if ((${#pids[@]} + ${#COMPREPLY[@]} > 1)) && [[ $COMP_TYPE == 33 || $COMP_TYPE == 63 || $COMP_TYPE == 64 ]]; then
		for pid in "${pids[@]}"; do
			COMPREPLY+=("${pid%% *}  (${pid#* })")
		done
	else
		COMPREPLY+=("${pids[@]%% *}")
	fi
}

# _kxsh_files [FILTER] adds files.
_kxsh_files() {
	local file
	while IFS= read -r file; do
		COMPREPLY+=("$file")
	done < <(compgen -f -X "$1" -- "$typed")
}

# _kxsh_images adds what ends in .kx; bash adds the folders.
_kxsh_images() {
	_kxsh_files '!*.kx'
	compopt -o filenames -o plusdirs
}

_kxsh() {
	local typed=$2 IFS=$' \t\n' command='' script='' flag='' value before i
	local flags kind once leading raw words args=0 ended=''
	local -a line globals=()
	COMPREPLY=()
	_kxsh_words
	_kxsh_command ''
	value=${line[-1]}
	for ((i = 1; i < ${#line[@]} - 1; i++)); do
		if [[ $raw || $ended || ${line[i]} != -?* ]]; then
			if [[ ! $command && ! $script ]]; then
				command=${line[i]} ended=''
				kind=file flags='' once='' leading='' raw=yes words=''
				_kxsh_command "$command"
				continue
			fi
			((args++))
			[[ $leading ]] && ended=yes
		elif [[ ${line[i]} == -- ]]; then
			ended=yes
		else
			[[ ! $command ]] && globals+=("${line[i]}")
			[[ ! $command && (${line[i]} == -c* || ${line[i]} == --command*) ]] && script=yes
			if _kxsh_takes "${line[i]}"; then
				if ((++i == ${#line[@]} - 1)); then
					ended=value
					break
				fi
				[[ ! $command ]] && globals+=("${line[i]}")
			fi
			_kxsh_command "$command"
		fi
	done
	if [[ $ended == value ]]; then
		:
	elif [[ ! $ended && ! $raw && $value == --*=* ]] && _kxsh_value "$command" "${value%%=*}"; then
		value=${value#*=}
	elif [[ ! $ended && ! $raw && $value == -* ]]; then
		kind=words words=$flags
	elif [[ $script || $leading && $command && $args -gt 0 ]]; then
		kind=file
	elif [[ $once && $args -gt 0 ]]; then
		kind=none
	fi
	typed=${typed//[\\\"\']/}
	before=${value%"$typed"} # what bash completes apart, such as --sort=
	case $kind in
	command)
		_kxsh_offer $words
		((${#COMPREPLY[@]})) || compopt -o default
		;;
	words) _kxsh_offer $words ;;
	list)
		words=" $words"
		_kxsh_offer ${words// / "${value%"${value##*[,-]}"}"}
		compopt -o nospace
		;;
	pvm | name) _kxsh_pvms "$kind" ;;
	pvm-or-image)
		[[ $value == */* ]] || _kxsh_pvms pvm
		typed=$2
		_kxsh_images
		;;
	pvm-or-file)
		[[ $value == */* ]] || _kxsh_pvms pvm
		typed=$2
		_kxsh_files
		compopt -o filenames
		;;
	image)
		typed=$2
		_kxsh_images
		;;
	file) compopt -o default ;;
	dir) compopt -o dirnames ;;
	esac
}

complete -F _kxsh kxsh
