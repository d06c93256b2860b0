package e2e

import (
	"os"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
)

// truncateFile is `truncate FILE SIZE` in a script.
func truncateFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: truncate FILE SIZE")
	}
	n, err := strconv.ParseInt(args[1], 0, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), n))
}

// patchFile is `patch FILE OFFSET BYTE…` in a script.
func patchFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: patch FILE OFFSET BYTE…")
	}
	off, err := strconv.ParseInt(args[1], 0, 64)
	ts.Check(err)
	var b []byte
	for _, a := range args[2:] {
		v, err := strconv.ParseUint(a, 0, 8)
		ts.Check(err)
		b = append(b, byte(v))
	}
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_WRONLY, 0)
	ts.Check(err)
	defer f.Close()
	_, err = f.WriteAt(b, off)
	ts.Check(err)
}
