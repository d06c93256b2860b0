package shell

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// completionPatience bounds how long Tab asks the engine.
var completionPatience = 200 * time.Millisecond

// complete returns what the word at pos may become, each with what follows it (a space, or / after a
// folder), and where the word begins. Shell quoting is understood as far as backslashes go.
func (s *Shell) complete(line string, pos int) (words []string, from int) {
	cmdline := line[:pos]
	if i := strings.LastIndexAny(cmdline, ";|&(`{"); i >= 0 {
		cmdline = cmdline[i+1:]
	}
	args := splitWords(cmdline)
	cur := args[len(args)-1]
	args = args[:len(args)-1]
	from = pos - len(cur)
	for len(args) > 0 && (isPrefixWord(args[0]) || strings.Contains(args[0], "=") && !strings.HasPrefix(args[0], "-")) {
		args = args[1:]
	}
	words = s.Candidates(args, cur)
	// readline appends: a candidate must begin with what was typed.
	words = slices.DeleteFunc(words, func(w string) bool { return !strings.HasPrefix(w, cur) })
	slices.Sort(words)
	return slices.Compact(words), from
}

// isPrefixWord reports whether a command follows the word.
func isPrefixWord(w string) bool {
	switch w {
	case "if", "then", "else", "elif", "while", "until", "do", "time", "!", "command", "exec", "builtin":
		return true
	}
	return false
}

// splitWords splits at unescaped blanks; the last word is the one being typed, perhaps "".
func splitWords(s string) []string {
	words := []string{""}
	for i := 0; i < len(s); i++ {
		last := &words[len(words)-1]
		switch {
		case s[i] == '\\' && i+1 < len(s):
			*last += s[i : i+2]
			i++
		case s[i] == ' ' || s[i] == '\t':
			if *last != "" {
				words = append(words, "")
			}
		default:
			*last += string(s[i])
		}
	}
	return words
}

// Candidates returns what the word cur after args may become; args[0] is the command. The completion
// scripts of other shells ask it too. A candidate that is complete ends in a space.
func (s *Shell) Candidates(args []string, cur string) []string {
	if strings.HasPrefix(cur, "$") {
		return nil
	}
	if len(args) == 0 {
		if strings.Contains(cur, "/") {
			return files(cur, func(os.FileInfo) bool { return true })
		}
		return s.commandNames(cur)
	}
	cmd := s.table[args[0]]
	if cmd == nil {
		return files(cur, func(os.FileInfo) bool { return true })
	}
	return s.arguments(cmd, args[1:], cur)
}

// arguments completes an argument of one of our commands.
func (s *Shell) arguments(cmd *Command, args []string, cur string) []string {
	flags := cmd.flagSet()
	if len(args) > 0 {
		if f := valueFlag(flags, args[len(args)-1]); f != nil {
			return s.values(cmd, f, cur)
		}
	}
	if name, value, ok := strings.Cut(cur, "="); ok && strings.HasPrefix(name, "--") {
		if f := flags.Lookup(name[2:]); f != nil {
			return prefixed(name+"=", s.values(cmd, f, value))
		}
	}
	if cmd.Leading && slices.ContainsFunc(args, func(a string) bool { return strings.HasSuffix(a, ".kx") }) {
		return files(cur, func(os.FileInfo) bool { return true })
	}
	if strings.HasPrefix(cur, "-") {
		return flagNames(cmd, flags, cur)
	}
	if cmd.Args == Choice && !cmd.Several && len(args) > 0 {
		return nil
	}
	if cmd.Args == Library {
		return s.libraries(args, cur)
	}
	return s.kind(cmd, cmd.Args, cur)
}

// valueFlag returns the flag whose value follows the word, if there is one.
func valueFlag(flags *pflag.FlagSet, word string) *pflag.Flag {
	var f *pflag.Flag
	switch {
	case strings.Contains(word, "="):
	case strings.HasPrefix(word, "--") && len(word) > 2:
		f = flags.Lookup(word[2:])
	case strings.HasPrefix(word, "-") && len(word) > 1:
		f = flags.ShorthandLookup(word[len(word)-1:])
	}
	if f == nil || f.NoOptDefVal != "" {
		return nil
	}
	return f
}

// values completes the value of a flag.
func (s *Shell) values(cmd *Command, f *pflag.Flag, cur string) []string {
	kind := cmd.FlagArgs[f.Name]
	if kind != Column {
		return s.kind(cmd, kind, cur)
	}
	done := cur[:strings.LastIndexAny(cur, ",-")+1]
	return prefixed(done, columnNames())
}

// flagNames completes a flag; kill's and pkill's signals are flags too.
func flagNames(cmd *Command, flags *pflag.FlagSet, cur string) []string {
	var out []string
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Shorthand != "" && !strings.HasPrefix(cur, "--") {
			out = append(out, "-"+f.Shorthand+" ")
		}
		out = append(out, "--"+f.Name+" ")
	})
	out = append(out, "--help ")
	if cmd.Prepare != nil && cmd.FlagArgs["signal"] == Signal && !strings.HasPrefix(cur, "--") {
		out = append(out, prefixed("-", spaced(signalNames()))...)
	}
	if len(cur) > 1 { // the short ones are for reading, not for completing
		out = slices.DeleteFunc(out, func(w string) bool { return w == "-- " })
	}
	return out
}

// kind lists what a kind of argument may be.
func (s *Shell) kind(cmd *Command, kind Kind, cur string) []string {
	switch kind {
	case PVM:
		return s.pvms(cur, true)
	case PVMName:
		return s.pvms(cur, false)
	case Job:
		return s.jobIDs()
	case PVMOrJob:
		return append(s.pvms(cur, true), s.jobIDs()...)
	case PVMOrFile:
		if strings.Contains(cur, "/") {
			return files(cur, isImage)
		}
		return append(s.pvms(cur, true), files(cur, isImage)...)
	case Image:
		return files(cur, isImage)
	case Signal:
		return spaced(signalNames())
	case Topic:
		var names []string
		for _, c := range s.order {
			names = append(names, c.Name+" ")
		}
		return names
	case Shared:
		return s.sharedIDs()
	case Choice:
		return spaced(cmd.Choices)
	case Network:
		return append(spaced([]string{"none", "user"}), bridges()...)
	case Dir:
		return files(cur, func(os.FileInfo) bool { return false })
	case File:
		return files(cur, func(os.FileInfo) bool { return true })
	}
	return nil
}

// bridges lists those of the host that a pVM on Xen could be a station of.
func bridges() (list []string) {
	found, _ := filepath.Glob("/sys/class/net/*/bridge")
	for _, dir := range found {
		list = append(list, "bridge="+filepath.Base(filepath.Dir(dir))+" ")
	}
	return list
}

// pvms lists names and, with pids, PIDs and families.
func (s *Shell) pvms(cur string, pids bool) []string {
	api := s.peek()
	if api == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), completionPatience)
	defer cancel()
	snap, err := api.Snapshot(ctx, false)
	if err != nil {
		return nil
	}
	var out []string
	for _, p := range snap.Processes {
		switch {
		case pids && strings.HasPrefix(cur, "%") && !p.Foreign:
			out = append(out, "%"+strconv.Itoa(p.Family)+" ")
		case pids && (cur == "" || cur[0] >= '0' && cur[0] <= '9'):
			out = append(out, strconv.Itoa(p.PID)+" ")
		}
		if p.Name != "" && printable(p.Name) == p.Name {
			out = append(out, p.Name+" ")
		}
	}
	return out
}

// jobIDs lists the jobs that go on or are stopped.
func (s *Shell) jobIDs() (out []string) {
	for _, j := range s.jobList() {
		if j.alive() {
			out = append(out, "%"+strconv.Itoa(j.id)+" ")
		}
	}
	return out
}

// libraries lists pVMs and files or, after a pVM, its libraries and files.
func (s *Shell) libraries(args []string, cur string) []string {
	var out []string
	args = slices.DeleteFunc(slices.Clone(args), func(a string) bool { return strings.HasPrefix(a, "-") })
	if len(args) == 0 {
		out = s.pvms(cur, true)
	} else if api := s.peek(); api != nil {
		ctx, cancel := context.WithTimeout(context.Background(), completionPatience)
		defer cancel()
		list, err := targets(ctx, api, []string{strings.TrimSuffix(args[0], ",")}, false)
		if err == nil && list[0].err == nil {
			libs, _ := api.Libraries(ctx, list[0].pid) // or none
			for _, l := range libs {
				out = append(out, l.Name+" ")
			}
		}
	}
	return append(out, files(cur, func(os.FileInfo) bool { return true })...)
}

// commandNames completes the first word: our commands, the shell's, and programs in PATH.
func (s *Shell) commandNames(cur string) []string {
	var out []string
	for _, c := range s.order {
		out = append(out, c.Name+" ")
	}
	if cur == "" { // everything there is says nothing
		return out
	}
	out = append(out, spaced(builtinNames())...)
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), cur) {
				if info, err := os.Stat(filepath.Join(dir, e.Name())); err == nil && info.Mode()&0o111 != 0 && !info.IsDir() {
					out = append(out, e.Name()+" ")
				}
			}
		}
	}
	return out
}

// isImage accepts what looks like an image.
func isImage(fi os.FileInfo) bool { return strings.HasSuffix(fi.Name(), ".kx") }

// files completes a path: folders, and the files that accept takes.
func files(cur string, accept func(os.FileInfo) bool) []string {
	dir, base := filepath.Split(cur)
	look := strings.ReplaceAll(dir, `\`, "")
	if rest, ok := strings.CutPrefix(look, "~/"); ok {
		home, _ := os.UserHomeDir()
		look = filepath.Join(home, rest)
	}
	if look == "" {
		look = "."
	}
	entries, err := os.ReadDir(look)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") && !strings.HasPrefix(base, ".") {
			continue
		}
		fi, err := os.Stat(filepath.Join(look, e.Name()))
		switch {
		case err != nil:
		case fi.IsDir():
			out = append(out, dir+escapeWord(e.Name())+"/")
		case accept(fi):
			out = append(out, dir+escapeWord(e.Name())+" ")
		}
	}
	return out
}

// escapeWord puts backslashes before what the shell would take apart.
func escapeWord(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strings.ContainsRune(" \t\\'\"$&;|<>()*?[]#~`!{}", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

func spaced(words []string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = w + " "
	}
	return out
}

func prefixed(prefix string, words []string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = prefix + w
	}
	return out
}
