# sysnames.awk: musl's <bits/syscall.h> -> the rows of syscall.c's table of names.
$1 == "#define" && sub(/^SYS_/, "", $2) { printf "[%s] = \"%s\",\n", $3, $2 }
