// Package shell is the command language of kxsh: the commands about pVMs, and a shell around them.
//
// There is one table of commands (table.go). Dispatch, help, completion and the completion scripts
// for other shells all come from it. The shell sees pVMs only through [engine.API], and asks for it
// no earlier than the first command that needs it: kxsh -c 'echo hi' starts no engine.
//
// The script language is mvdan.cc/sh's, POSIX sh with the usual bash extensions, with what that
// interpreter leaves out put back for pVMs: kill, wait, jobs, trap and $! know pVMs and jobs, signals
// reach traps, a broken pipe ends a writer with 141, and host programs and pVM commands share one
// pipeline. rewrite.go says how: a few constructs are rewritten before they run.
//
// # Limits
//
//   - No coproc, read -t, wait -n, PIPESTATUS, or file descriptors above 2; to close one of those does nothing.
//   - The last command of a pipe runs in the shell itself, as under ksh: exit there ends the script, and what it sets stays.
//   - A division by 0 in $((…)) ends the script, as under dash; bash goes on with the next line. Other errors there (2 ** -1) end nothing.
//   - An element of an array is assigned to by ((a[i]++)) alone, not inside of another expression. The status of for ((…)) is 0.
//   - $- is empty, and set -o does not tell of noclobber. ulimit only shows: a limit would be that of all subshells. pushd and popd take no +N.
//   - Where a comment behind a command ends in a backslash, the next line is more of the command.
//   - No fc, !!, read -n, declare -i, FUNCNAME or extended patterns in ${x%…}; an assignment to a readonly variable does not end a script.
//   - A statement that Ctrl-Z has stopped goes on as in a subshell: what it sets, the session does not see. What a command of ours has asked the
//     engine for goes on meanwhile; it says nothing, and takes no key.
//   - $! of a job that is not one run command is a number above 4194304, which is neither a Linux PID
//     nor a domain ID; kill, wait and jobs take it. A number equal to $$ names the shell itself.
//   - A compound job ({ a; b; } &) ends with the shell; a host program or pVM it started goes on.
//   - A trap on EXIT inside ( … ) runs at the subshell's end and at its exit command, and not when
//     set -e ends it. DEBUG and RETURN traps do not exist.
//   - The left side of a pipe leaves with 141 also when a host program it started died of SIGPIPE.
//   - A job's standard input is /dev/null unless redirected, also in an interactive shell.
//   - set -x also shows the calls (_kxsh_…) that jobs and traps are made of.
//   - SIGINT sent to a script alone while a host program runs is the program's to obey, as under bash:
//     the script goes on if the program does.
//   - Syntax errors are found before the first command of a script runs, and give 2.
package shell
