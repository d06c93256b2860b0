package shell

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"kxsh/elf"
	"kxsh/engine"
)

var abidiffCommand = Command{
	Name:     "abidiff",
	Synopsis: "[--symbols-only] [--json] OLD NEW",
	Short:    "tell whether a library can take the place of another",
	Long: `Compares what the shared libraries OLD and NEW export: functions and their prototypes, variables, their sizes and types, the fields of structs; also
the types of static variables, whose values an update keeps. More of all is allowed, less or other is not. NEW's restriction record must have the same name and no
lower version. Types need debug information in both (-g); --symbols-only does without.

Exit status 0: it can; 1: it cannot, with the reasons, one a line.`,
	Examples: []string{"abidiff libz.so libz-new.so && echo compatible"},
	Flags: func(f *pflag.FlagSet) {
		f.Bool("symbols-only", false, "do not compare types where there is no debug information")
		jsonFlag(f)
	},
	Args:  File,
	Pages: true,
	Run:   abidiff,
}

// abiVerdict is what abidiff --json prints.
type abiVerdict struct {
	Compatible bool     `json:"compatible"`
	Reasons    []string `json:"reasons"`
	Functions  int      `json:"functions"` // that both have
	Variables  int      `json:"variables"`
	Added      int      `json:"added"`
	Typed      bool     `json:"typed"` // whether types were compared
}

func abidiff(c *Call) error {
	if err := c.want(2, 2); err != nil {
		return err
	}
	var abis [2]*elf.ABI
	for i, file := range c.Args {
		var err error
		if abis[i], err = readABIFile(c.Path(file)); err != nil {
			return fmt.Errorf("%s: %w", printable(file), err)
		}
	}
	changes, err := elf.CompareABI(abis[0], abis[1], c.flagBool("symbols-only"))
	if err != nil {
		return err
	}
	ok := len(changes.Reasons) == 0
	if c.flagBool("json") {
		err = writeJSON(c.Stdout, abiVerdict{ok, append([]string{}, changes.Reasons...), changes.Functions, changes.Variables, changes.Added, changes.Typed})
	} else {
		_, err = io.WriteString(c.Stdout, changesText(changes))
	}
	if err == nil && !ok {
		return Status(1)
	}
	return err
}

func changesText(changes *elf.Changes) string {
	var b strings.Builder
	for _, r := range changes.Reasons {
		b.WriteString(printable(oneLine(r)) + "\n")
	}
	if b.Len() == 0 {
		fmt.Fprintf(&b, "compatible; functions: %d, variables: %d, added: %d", changes.Functions, changes.Variables, changes.Added)
		if !changes.Typed {
			b.WriteString("; types were not compared")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// readABIFile reads the ABI of a library.
func readABIFile(path string) (*elf.ABI, error) {
	f, fi, err := openRegular(path, 0, engine.FileMax)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return elf.ReadABI(f, fi.Size())
}
