package lab

import (
	"debug/elf"
	"fmt"
	"path"
	"path/filepath"
	"strings"
)

// home is the folder in dom0 that the command starts in.
const home = "/root"

// FileArguments reads HOST[:DOM0] arguments into what Options.Files takes; without the second part
// a file goes to the folder the command starts in, under its own name.
func FileArguments(arguments []string) map[string]string {
	files := map[string]string{}
	for _, a := range arguments {
		from, to, ok := strings.Cut(a, ":")
		if !ok {
			to = path.Join(home, filepath.Base(from))
		}
		files[to] = from
	}
	return files
}

// checkPrograms refuses programs that could not start: dom0 has no shared libraries.
func checkPrograms(files map[string]string) error {
	for _, from := range files {
		f, err := elf.Open(from)
		if err != nil {
			continue // no program; a file that is missing is told of when it is copied
		}
		needs := false
		for _, p := range f.Progs {
			needs = needs || p.Type == elf.PT_INTERP
		}
		f.Close()
		if needs {
			return fmt.Errorf("lab: %s: needs shared libraries, which dom0 has not: build it static (CGO_ENABLED=0, -static)", from)
		}
	}
	return nil
}
