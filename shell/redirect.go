package shell

import (
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// set -C is kept in a variable, which a subshell has a copy of. With it > makes files and does not replace them; >| does, with clobberMark behind
// the file's name.
const (
	varNoclobber = "_kxsh_noclobber"
	clobberMark  = "\x01clobber"
)

var errExists = errors.New("cannot overwrite existing file: >| does, or set +C")

// redirections marks what is to be replaced whatever set -C says, leaves out that a descriptor is to be closed which cannot be open, and has
// refused what needs another one than 0, 1 and 2.
func (w *rewriter) redirections(st *syntax.Stmt) {
	if st.Cmd != nil {
		st.Redirs = slices.DeleteFunc(st.Redirs, func(r *syntax.Redirect) bool {
			none := r.N != nil && len(r.N.Value) == 1 && r.N.Value > "2" && (r.Op == syntax.DplOut || r.Op == syntax.DplIn) && r.Word.Lit() == "-"
			w.changed = w.changed || none
			return none
		})
	}
	for _, r := range st.Redirs {
		if fd := above(r); fd != "" {
			*st = syntax.Stmt{Position: st.Position, Negated: st.Negated, Background: st.Background, Cmd: callStmt(callAbove, quoted(fd)).Cmd}
			w.changed = true
			return
		}
		if r.Op == syntax.RdrClob {
			r.Op = syntax.RdrOut
			r.Word.Parts = append(r.Word.Parts, &syntax.Lit{Value: clobberMark})
			w.changed = true
		}
	}
}

// above is the descriptor other than 0, 1 and 2 that a redirection makes or copies, or "".
func above(r *syntax.Redirect) string {
	if r.N != nil && !slices.Contains([]string{"0", "1", "2"}, r.N.Value) {
		return r.N.Value
	}
	if r.Op == syntax.DplOut || r.Op == syntax.DplIn {
		if n, err := strconv.Atoi(r.Word.Lit()); err == nil && n > 2 {
			return strconv.Itoa(n)
		}
	}
	return ""
}

// setArgs takes -C and -o noclobber out of the arguments of set.
func setArgs(args []string) []string {
	rest, value := args[:1:1], ""
	i := 1
	for ; i < len(args); i++ {
		if a := args[i]; len(a) < 2 || a[0] != '-' && a[0] != '+' || a == "--" {
			break
		}
		sign, flags := args[i][:1], ""
		var names []string
		for _, f := range args[i][1:] {
			switch {
			case f == 'C':
				value = sign
			case f == 'o' && i+1 < len(args) && args[i+1] == "noclobber":
				value = sign
				i++
			case f == 'o' && i+1 < len(args):
				i++
				names = append(names, args[i])
				flags += "o"
			default:
				flags += string(f)
			}
		}
		if flags != "" {
			rest = append(append(rest, sign+flags), names...)
		}
	}
	if value == "" {
		return args
	}
	text := varNoclobber + "=" + strings.Trim(value, "+")
	if rest = append(rest, args[i:]...); len(rest) > 1 {
		text += "\nbuiltin"
		for _, a := range rest {
			q, err := syntax.Quote(a, syntax.LangBash)
			if err != nil { // a NUL, which no argument has
				return args
			}
			text += " " + q
		}
	}
	return []string{"eval", text}
}

// openNew opens a file for > under set -C: one that is made, or what is no regular file.
func openNew(path string, open func(flag int) (io.ReadWriteCloser, error), flag int) (io.ReadWriteCloser, error) {
	f, err := open(flag | os.O_EXCL)
	if !errors.Is(err, os.ErrExist) {
		return f, err
	}
	if f, err = open(flag &^ (os.O_CREATE | os.O_TRUNC)); err != nil {
		return nil, err
	}
	if fi, err := f.(*os.File).Stat(); err != nil || fi.Mode().IsRegular() {
		f.Close()
		return nil, &os.PathError{Path: path, Err: errExists}
	}
	return f, nil
}
