# _kxsh_globals keeps the global flags that say which engine is meant.
_kxsh_globals() {
	local flag text
	for flag in --socket --state --config; do
		(( $+opt_args[$flag] )) || continue
		text=${(Q)opt_args[$flag]}
		globals+=($flag ${text/#\~\//$HOME/})
	done
}

# _kxsh_live puts the pVMs into the array rows, unless it has them: PID, family and name.
_kxsh_live() {
	(( $#rows )) && return
	rows=(${(f)"$(timeout 2 ${(Q)program/#\~\//$HOME/} $globals @LIVE@ 2>/dev/null </dev/null)"})
}

_kxsh_pvms() {
	local -a rows=() row pids families
	local r
	_kxsh_live
	for r in $rows; do
		row=(${=r})
		pids+=("${row[1]}:${row[3,-1]}")
		[[ $row[1] == $row[2] ]] && families+=("%${row[1]}:the family of ${row[3,-1]}")
	done
	if [[ $PREFIX == %* ]]; then
		_describe -t families family families
		return
	fi
	_describe -t pvms pVM pids
	_kxsh_names
}

_kxsh_names() {
	(( $+rows )) || local -a rows=()
	local -a row names expl
	local r
	_kxsh_live
	for r in $rows; do
		row=(${=r})
		[[ $#row == 3 && $row[3] != *[^@CHARS@]* ]] && names+=($row[3])
	done
	_wanted names expl name compadd -a names
}

_kxsh_images() {
	local -a expl
	_wanted files expl image _path_files -g '*.kx(-.) *(-/)'
}

_kxsh_pvms_or_images() {
	local ret=1
	_kxsh_pvms && ret=0
	_kxsh_images && ret=0
	return ret
}

_kxsh_pvms_or_files() {
	local ret=1
	_kxsh_pvms && ret=0
	_files && ret=0
	return ret
}

# _kxsh_list COLUMN... completes columns, separated by commas, - before the first.
_kxsh_list() {
	local -a expl columns=($@[(r)[^-]*,-1])
	compset -P '*[,-]'
	_wanted columns expl column compadd -q -S '' -a columns
}

if [[ $funcstack[1] == _kxsh ]]; then
	_kxsh "$@"
else
	compdef _kxsh kxsh
fi
