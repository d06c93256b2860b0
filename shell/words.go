package shell

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"mvdan.cc/sh/v3/interp"
)

// words are the names that a command typed now may have, beside those that are always there. They are looked up
// with each key, and so are gathered when the prompt appears.
type words struct {
	wanted    bool       // there are colours that show them
	mu        sync.Mutex // guards what follows
	aliases   map[string]bool
	functions map[string]bool
	dir       string
	paths     map[string]bool // by name with a slash: can it be executed? Those asked for since the prompt appeared
	programs  []programs
	listing   bool // somebody reads PATH
}

// programs are the files of a folder in PATH.
type programs struct {
	dir             string
	names           map[string]bool
	modified, taken time.Time
}

// pathPatience is how long a key waits for the file system to tell whether there is a program.
const pathPatience = 2 * time.Millisecond

// knows reports whether a command of that name can be run, as far as is known: there is one while nothing is.
func (s *Shell) knows(name string) bool {
	return s.Has(name) || interp.IsBuiltin(name) || ours[name] != nil || s.words.has(name)
}

// gather takes the words of the interpreter of a prompt, and looks at PATH in the background.
func (w *words) gather(r *interp.Runner) {
	if !w.wanted {
		return
	}
	path := os.Getenv("PATH")
	if v, ok := r.Vars["PATH"]; ok {
		path = v.String()
	}
	var dirs []string
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(r.Dir, dir)
		}
		dirs = append(dirs, dir)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dir, w.paths, w.functions = r.Dir, map[string]bool{}, map[string]bool{}
	for name := range r.Funcs {
		w.functions[name] = true
	}
	if !w.listing { // or a folder hangs
		w.listing = true
		go w.list(dirs, w.programs)
	}
}

// list reads the folders that have changed since before, which is left as it is.
func (w *words) list(dirs []string, before []programs) {
	now := []programs{}
	for _, dir := range dirs {
		fi, err := os.Stat(dir)
		if err != nil {
			continue
		}
		// A change may have the time of one that was seen, if it comes soon enough.
		i := slices.IndexFunc(before, func(p programs) bool {
			return p.dir == dir && p.modified.Equal(fi.ModTime()) && p.taken.Sub(p.modified) > time.Second
		})
		if i >= 0 {
			now = append(now, before[i])
			continue
		}
		p := programs{dir: dir, names: map[string]bool{}, modified: fi.ModTime(), taken: time.Now()}
		entries, _ := os.ReadDir(dir) // those that can be read
		for _, e := range entries {
			if !e.IsDir() {
				p.names[e.Name()] = true
			}
		}
		now = append(now, p)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.programs, w.listing = now, false
}

// alias follows alias and unalias.
func (w *words) alias(args []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.aliases == nil {
		w.aliases = map[string]bool{}
	}
	for _, a := range args[1:] {
		if name, _, ok := strings.Cut(a, "="); ok && args[0] == "alias" {
			w.aliases[name] = true
		} else if args[0] == "unalias" {
			delete(w.aliases, a)
		}
	}
}

func (w *words) has(name string) bool {
	if strings.Contains(name, "/") || strings.HasPrefix(name, "~") {
		return w.file(name)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.aliases[name] || w.functions[name] || w.programs == nil {
		return true
	}
	for _, p := range w.programs {
		if p.names[name] {
			return true
		}
	}
	return false
}

// file reports whether the file can be executed, or its file system takes its time.
func (w *words) file(name string) bool {
	w.mu.Lock()
	paths, path := w.paths, name
	is, asked := paths[name]
	if !filepath.IsAbs(path) && path[0] != '~' {
		path = filepath.Join(w.dir, path)
	}
	w.mu.Unlock()
	if asked {
		return is
	}
	if rest, ok := strings.CutPrefix(path, "~"); ok {
		home, err := os.UserHomeDir()
		if err != nil || rest != "" && rest[0] != '/' { // of another user
			return true
		}
		path = home + rest
	}
	tell := func(is bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		paths[name] = is
	}
	tell(true) // until it is known
	answer := make(chan bool, 1)
	go func() {
		status, _ := executable(path)
		tell(status == 0)
		answer <- status == 0
	}()
	select {
	case is := <-answer:
		return is
	case <-time.After(pathPatience):
		return true
	}
}
