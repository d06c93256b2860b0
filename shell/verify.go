package shell

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"kxsh/elf"
	"kxsh/engine"
)

// What run and verify have in common.
const (
	requireUsage = "a list of what it must meet: signed,name=NAME,version=N,version=N+,loader=self|app|any,no-rollback"
	keyUsage     = "the public key `FILE` that it must be signed with, instead of those in the trust store"
)

var verifyCommand = Command{
	Name:     "verify",
	Synopsis: "[--key FILE] [--require LIST] [--allow-sha1] [--json] FILE [LIBRARY…]",
	Short:    "check the signature of an image or a library, and its libraries",
	Long: `FILE must be signed with a key of the trust store, or that of --key, and meet what --require lists. Each LIBRARY must be what the record of
FILE asks for under that file's name. One line for each, and exit status 1 if any is refused, with the rule that it breaks: record, signed, key,
signature, algorithm, name, version, loader.`,
	Examples: []string{"verify web.kx", "verify --key release.key.pub --require version=3+ web.kx libm.so"},
	Flags: func(f *pflag.FlagSet) {
		f.String("key", "", keyUsage)
		f.String("require", "signed", requireUsage[:strings.LastIndex(requireUsage, ",")])
		f.Bool("allow-sha1", false, "take signatures with SHA-1, which can be forged")
		jsonFlag(f)
	},
	FlagArgs: map[string]Kind{"key": File},
	Args:     File,
	Run:      verify,
}

// verdict is what verify says about a file.
type verdict struct {
	File            string     `json:"file"`
	Name            string     `json:"name,omitempty"`
	Version         uint64     `json:"version"`
	Loader          string     `json:"loader,omitempty"`
	LoadedBy        string     `json:"loaded_by,omitempty"` // of a library: who may have it loaded into a pVM of the image
	SignedLibraries bool       `json:"need_signed"`
	Needs           []elf.Need `json:"needs,omitempty"`
	Algorithm       string     `json:"algorithm,omitempty"`
	Key             string     `json:"key,omitempty"`     // ID
	TrustedAs       string     `json:"trusted,omitempty"` // what the key is called here
	OK              bool       `json:"ok"`
	Rule            string     `json:"rule,omitempty"` // that it breaks
	Reason          string     `json:"reason,omitempty"`
}

func verify(c *Call) error {
	if err := c.want(1, -1); err != nil {
		return err
	}
	q, err := elf.ParseRequirement(c.flagString("require"))
	if err != nil {
		return usagef("--require %v", err)
	}
	if q.NoRollback {
		return usagef("--require no-rollback: only run knows what has run")
	}
	trust, err := c.trust(c.flagString("key"))
	if err != nil {
		return err
	}
	sha1 := c.flagBool("allow-sha1")
	image, err := readRecordFile(c.Path(c.Args[0]))
	if err == nil {
		err = q.Check(image, trust.keys, sha1, 0)
	}
	verdicts := []verdict{trust.verdict(c.Args[0], image, err)}
	if verdicts[0].OK { // else its record is nobody's word
		for _, file := range c.Args[1:] {
			lib, err := readRecordFile(c.Path(file))
			if err == nil {
				err = image.Admit(filepath.Base(file), lib, trust.keys, sha1)
			}
			v := trust.verdict(file, lib, err)
			v.LoadedBy = min(image.LoadedBy(), lib.LoadedBy()).String()
			verdicts = append(verdicts, v)
		}
	}
	return c.verdicts(verdicts)
}

// readRecordFile reads the restriction record of a file, once: what was hashed is what was read.
func readRecordFile(path string) (*elf.Record, error) {
	data, _, err := readRegular(path, 0, engine.FileMax)
	if err != nil {
		return nil, err
	}
	return elf.ReadRecord(bytesReader(data))
}

// verdict puts together what is to be said about a file; err is why it is refused.
func (t *trustStore) verdict(file string, r *elf.Record, err error) verdict {
	v := verdict{File: file, OK: err == nil}
	if r != nil {
		v.Name, v.Version, v.Loader, v.SignedLibraries, v.Needs = r.Name, r.Version, r.Loader.String(), r.SignedLibraries, r.Needs
		v.Algorithm = r.Algorithm.String()
		if r.Algorithm != elf.Unsigned {
			v.Key, v.TrustedAs = r.Key.String(), t.names[r.Key]
		}
	}
	var refused *elf.Refusal
	if errors.As(err, &refused) {
		v.Rule, v.Reason = refused.Rule, refused.Reason
	} else if err != nil {
		v.Reason = err.Error()
	}
	return v
}

// verdicts prints them: the good on standard output, the bad on standard error unless it is JSON.
func (c *Call) verdicts(list []verdict) error {
	bad := false
	for _, v := range list {
		bad = bad || !v.OK
	}
	if c.flagBool("json") {
		if err := writeJSON(c.Stdout, list); err != nil {
			return err
		}
	} else {
		for _, v := range list {
			switch {
			case v.Rule != "":
				c.warnf("%s: refused by rule %s: %s", printable(v.File), v.Rule, printable(v.Reason))
			case !v.OK:
				c.warnf("%s: %s", printable(v.File), printable(v.Reason))
			default:
				if _, err := io.WriteString(c.Stdout, v.line()); err != nil {
					return err
				}
			}
		}
	}
	if bad {
		return Status(1)
	}
	return nil
}

func (v *verdict) line() string {
	if v.Key == "" {
		return fmt.Sprintf("%s: not signed, which nobody asks for; loaded by %s\n", printable(v.File), v.LoadedBy)
	}
	s := fmt.Sprintf("%s: %s version %d, loader %s", printable(v.File), v.Name, v.Version, v.Loader)
	for _, n := range v.Needs {
		s += fmt.Sprintf(", needs %s %d", n.Name, n.Version)
	}
	if v.SignedLibraries {
		s += ", needs signed libraries"
	}
	s += fmt.Sprintf("; signed by %s, %s", v.Key, v.Algorithm)
	if v.TrustedAs != "" {
		s += ", " + printable(v.TrustedAs)
	}
	if v.LoadedBy != "" {
		s += "; loaded by " + v.LoadedBy
	}
	return s + "\n"
}

// bytesReader is what package elf reads a file in memory by.
func bytesReader(data []byte) (io.ReaderAt, int64) { return bytes.NewReader(data), int64(len(data)) }
